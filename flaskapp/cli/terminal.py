"""What commands ask of the terminal, and show on it."""

import sys

import click


def read_password(*, confirm: bool = False) -> str:
    """Never from an argument: those are for everybody to see in the list of processes."""
    if sys.stdin.isatty():
        password: str = click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=not confirm)
        return password
    return sys.stdin.read().removesuffix("\n").removesuffix("\r")


def printable(text: object) -> str:
    """A text as it is, unless it would do something to the terminal."""
    return str(text) if str(text).isprintable() else ascii(str(text))
