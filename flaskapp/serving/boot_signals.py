"""Stop signals that a web worker receives while it boots.

A forked worker has the master's handlers, which only queue a signal for the master's loop. gunicorn replaces them after
gevent's patches and, if root started the server, after the import of the application. A SIGTERM lost meanwhile would
delay the server's exit by `graceful_timeout`.
"""

import os
import queue
import signal
from contextlib import suppress
from types import FrameType

# The exit codes of gunicorn's own handlers. The master would stop the server after 3 or 4, its codes of boot failures.
EXIT_CODES = {signal.SIGTERM: 0, signal.SIGINT: 0, signal.SIGQUIT: 0, signal.SIGABRT: 1}


def exit_on_signals(inherited: "queue.SimpleQueue[int]") -> None:
    """Exit at stop signals until gunicorn installs the worker's handlers. No request is lost: none is accepted before.

    `inherited` is the worker's copy of the master's queue of signals, with those that arrived since the fork. Stop
    signals from before the fork are for the master, which will stop all workers anyway.
    """
    for number in EXIT_CODES:
        signal.signal(number, _exit)
    with suppress(queue.Empty):
        while True:
            _exit(inherited.get_nowait(), None)


def _exit(number: int, _frame: FrameType | None) -> None:
    """Exit without an exception, which an import could catch or report with a traceback."""
    for stop_signal, code in EXIT_CODES.items():
        if number == stop_signal:
            os._exit(code)
