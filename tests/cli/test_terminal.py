import gc
import signal
import threading

import pytest

from flaskapp.cli.terminal import Interrupts, interrupts


class Interrupted:
    """Raises SIGINT in a finalizer, where Python ignores exceptions."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_ignored_is_raised_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupts() as interrupt:
        interrupt.check()
        Interrupted()
        gc.collect()
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_deferred_interrupt_is_raised_at_the_end_of_the_block() -> None:
    steps = []

    def work(interrupt: Interrupts) -> None:
        with interrupt.deferred():
            signal.raise_signal(signal.SIGINT)
            steps.append("after the signal")
        steps.append("after the end")

    with interrupts() as interrupt:
        with pytest.raises(KeyboardInterrupt):
            work(interrupt)
        assert steps == ["after the signal"]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_another_thread_does_not_defer_the_interrupts_of_the_main_thread() -> None:
    with interrupts() as interrupt:
        is_inside, may_leave = threading.Event(), threading.Event()

        def work() -> None:
            with interrupt.deferred():
                is_inside.set()
                may_leave.wait()

        thread = threading.Thread(target=work)
        thread.start()
        is_inside.wait()
        try:
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        finally:
            may_leave.set()
            thread.join()
