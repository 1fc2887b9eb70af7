"""What commands ask of the terminal, and show on it."""

import signal
import sys
from collections.abc import Callable, Iterator
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


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Gives a function that raises KeyboardInterrupt once Ctrl-C was pressed.

    Python raises it at once as well, but perhaps where it is passed over, as in the end of some object's life.
    """
    was_pressed = False

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal was_pressed
        was_pressed = True
        raise KeyboardInterrupt

    def check() -> None:
        if was_pressed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
