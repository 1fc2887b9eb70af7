"""Signals that end gunicorn's master while a hook runs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


@contextmanager
def interrupting() -> Iterator[None]:
    """Raise KeyboardInterrupt at a signal to stop, in the main thread.

    gunicorn only queues signals until its hook `when_ready` returns, which takes minutes where that downloads a model.
    """
    handlers = {each: signal.signal(each, signal.default_int_handler) for each in SIGNALS}
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
