"""What commands ask of the terminal, and show on it."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType

import click

from flaskapp.errors import FlaskappError


def read_password(*, prompt: str = "Password", confirm: bool = False) -> str:
    """Never from an argument: all users see those in the list of processes."""
    if sys.stdin.isatty():
        password: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=not confirm)
        return password
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def printable(text: object) -> str:
    """A text as it is, unless it would do something to the terminal."""
    return str(text) if str(text).isprintable() else ascii(str(text))


def shown_time(seconds: float | None) -> str:
    """Seconds since 1970 in ISO 8601, or `-` for None."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@contextmanager
def complaints() -> Iterator[None]:
    """Our own errors as a line on stderr and exit code 1."""
    try:
        yield
    except FlaskappError as error:
        raise click.ClickException(str(error)) from error


class Interrupts:
    """Ctrl-C as KeyboardInterrupt: at once, but at the end of what must not be interrupted.

    Python's own handler raises anywhere: in the middle of taking a lock, which is then released without being held, or
    where it is passed over, as in `__del__`.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._deferred = False

    def check(self) -> None:
        """Raises KeyboardInterrupt if Ctrl-C was pressed."""
        if self._pressed:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Raises KeyboardInterrupt at its end if Ctrl-C was pressed meanwhile. It cannot be nested.

        Python interrupts the main thread alone: in others this does nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        self.check()

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """A handler of SIGINT."""
        self._pressed = True
        if not self._deferred:
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handle SIGINT by `Interrupts`. Only for the main thread."""
    handled = Interrupts()
    before = signal.signal(signal.SIGINT, handled.handle)
    try:
        yield handled
    finally:
        signal.signal(signal.SIGINT, before)
