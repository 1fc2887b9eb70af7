"""`flask --app wsgi users`: add, list and remove saved logins."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
from flask import current_app
from flask.cli import AppGroup

from flaskapp.accounts import Accounts
from flaskapp.api.login import Credentials
from flaskapp.cli.terminal import printable, read_password
from flaskapp.errors import FlaskappError

users = AppGroup("users", help="Saved logins.")


@users.command()
@click.argument("name")
@click.option("--replace", is_flag=True, help="Give a saved login another password.")
def add(name: str, replace: bool) -> None:
    """Save a login. Asks for the password, or reads it from a pipe."""
    password = read_password(confirm=True)
    for field, messages in Credentials().validate({"username": name, "password": password}).items():
        raise click.ClickException(f"{field}: {' '.join(messages)}")
    with _complaints():
        enter = _accounts().replace if replace else _accounts().add
        enter(name, password)
    click.echo(f"{printable(name)} has another password" if replace else f"{printable(name)} is saved")


@users.command("list")
def list_names() -> None:
    """Print the names of all saved logins, one a line."""
    with _complaints():
        for name in _accounts().names():
            click.echo(printable(name))


@users.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget a login."""
    with _complaints():
        _accounts().remove(name)
    click.echo(f"{printable(name)} is removed")


def _accounts() -> Accounts:
    accounts: Accounts = current_app.extensions["accounts"]
    return accounts


@contextmanager
def _complaints() -> Iterator[None]:
    """Our own errors as a line on stderr and exit code 1."""
    try:
        yield
    except FlaskappError as error:
        raise click.ClickException(str(error)) from error
