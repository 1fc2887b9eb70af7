import gc
import signal

import pytest

from flaskapp.cli.terminal import interruptible


class Interrupted:
    """Ctrl-C is pressed while it goes: Python passes over what is raised there."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_passes_over_is_raised_at_the_next_check() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as check:
        check()
        Interrupted()
        gc.collect()
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is before
