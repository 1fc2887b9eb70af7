"""`flask --app wsgi users`: add, list and remove saved logins."""

import click
from flask import current_app
from flask.cli import AppGroup

from flaskapp.accounts import REGISTERED, UNKNOWN, Accounts
from flaskapp.api.login import Credentials
from flaskapp.cli.terminal import complaints, printable, read_password, shown_time

users = AppGroup("users", help="Saved logins.")


@users.command()
@click.argument("name")
@click.option("--replace", is_flag=True, help="Give a saved login another password.")
def add(name: str, replace: bool) -> None:
    """Save a login. Asks for the password, or reads it from a pipe."""
    password = read_password(confirm=True)
    _check(username=name, password=password)
    with complaints():
        enter = _accounts().replace if replace else _accounts().add
        enter(name, password)
    click.echo(f"{printable(name)} has another password" if replace else f"{printable(name)} is saved")


@users.command("list")
def list_names() -> None:
    """Print all saved logins, one a line: name, origin and time, with tabs between them.

    The origin is `registered` (at /login/), `added` (by you) or `unknown` (saved before this was recorded).
    """
    with complaints():
        for login in _accounts().saved():
            click.echo(f"{printable(login.username)}\t{login.origin}\t{shown_time(login.created_at)}")


@users.command()
@click.argument("name", required=False)
@click.option("--registered", "origin", flag_value=REGISTERED, help="All logins that were registered at /login/.")
@click.option("--unknown", "origin", flag_value=UNKNOWN, help="All logins whose origin is unknown.")
def remove(name: str | None, origin: str | None) -> None:
    """Forget a login, or all logins of an origin."""
    if (name is None) == (origin is None):
        raise click.UsageError("Give a name, --registered or --unknown.")
    if name is not None:
        _check(username=name)
    with complaints():
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
    """Refuse what no saved login has."""
    for field, messages in Credentials(only=list(fields)).validate(fields).items():
        raise click.ClickException(f"{field}: {' '.join(messages)}")


def _accounts() -> Accounts:
    accounts: Accounts = current_app.extensions["accounts"]
    return accounts
