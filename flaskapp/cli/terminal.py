"""Input, output and Ctrl-C of commands."""

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
    """Prompt for a password, or read it from a pipe. An argument would be visible to all users of the machine."""
    if sys.stdin.isatty():
        password: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=not confirm)
        return password
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def printable(text: object) -> str:
    """Escape a text that contains control characters, which could manipulate the terminal."""
    return str(text) if str(text).isprintable() else ascii(str(text))


def shown_time(seconds: float | None) -> str:
    """Format seconds since 1970 by ISO 8601, and None as `-`."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn a FlaskappError into a message on stderr and exit code 1."""
    try:
        yield
    except FlaskappError as error:
        raise click.ClickException(str(error)) from error


class Interrupts:
    """Raises KeyboardInterrupt on Ctrl-C, but after a block that must not be interrupted.

    Python's own handler may raise while a lock is being acquired, so that a `with` block releases a lock that it does
    not hold, or in `__del__`, where Python ignores exceptions.
    """

    def __init__(self) -> None:
        self._pressed = False
        self._deferred = False

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was pressed."""
        if self._pressed:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Delay Ctrl-C until the end of the block. Cannot be nested.

        Does nothing outside the main thread, the only one that Python interrupts.
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
        """Handle SIGINT."""
        self._pressed = True
        if not self._deferred:
            raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[Interrupts]:
    """Handle SIGINT by `Interrupts` during the block. Only for the main thread."""
    handled = Interrupts()
    before = signal.signal(signal.SIGINT, handled.handle)
    try:
        yield handled
    finally:
        signal.signal(signal.SIGINT, before)
