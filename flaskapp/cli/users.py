"""`flask --app wsgi users`: add, list and remove saved logins."""

import click
from flask import current_app
from flask.cli import AppGroup

from flaskapp.accounts import REGISTERED, UNKNOWN, Accounts
from flaskapp.api.login import Credentials
from flaskapp.cli.terminal import printable, read_password, reported_errors, shown_time

users = AppGroup("users", help="Saved logins.")


@users.command()
@click.argument("name")
@click.option("--replace", is_flag=True, help="Change the password of a saved login.")
def add(name: str, replace: bool) -> None:
    """Save a login. Prompts for the password, or reads it from a pipe."""
    password = read_password(confirm=True)
    _check(username=name, password=password)
    with reported_errors():
        enter = _accounts().replace if replace else _accounts().add
        enter(name, password)
    click.echo(f"{printable(name)} has another password" if replace else f"{printable(name)} is saved")


@users.command("list")
def list_names() -> None:
    """Print one saved login per line: name, origin and time, separated by tabs.

    The origin is `registered` (at /login/), `added` (by you) or `unknown` (saved before this was recorded).
    """
    with reported_errors():
        for login in _accounts().saved():
            click.echo(f"{printable(login.username)}\t{login.origin}\t{shown_time(login.created_at)}")


@users.command()
@click.argument("name", required=False)
@click.option(
    "--registered", "origin", flag_value=REGISTERED, help="Remove all logins that were registered at /login/."
)
@click.option("--unknown", "origin", flag_value=UNKNOWN, help="Remove all logins of unknown origin.")
def remove(name: str | None, origin: str | None) -> None:
    """Remove a login, or all logins of an origin."""
    if (name is None) == (origin is None):
        raise click.UsageError("Give a name, --registered or --unknown.")
    if name is not None:
        _check(username=name)
    with reported_errors():
        if name is not None:
            _accounts().remove(name)
            names = [name]
        else:
            names = _accounts().remove_all(str(origin))
    for each in names:
        click.echo(f"{printable(each)} is removed")
    if not names:
        click.echo(f"no saved login is {origin}")


def _check(**fields: str) -> None:
    """Raise ClickException if a field cannot be that of a saved login."""
    for field, messages in Credentials(only=list(fields)).validate(fields).items():
        raise click.ClickException(f"{field}: {' '.join(messages)}")


def _accounts() -> Accounts:
    accounts: Accounts = current_app.extensions["accounts"]
    return accounts
