"""`flask --app wsgi tokens`: create, list and revoke API tokens."""

import re
from datetime import UTC, datetime, timedelta

import click
import marshmallow as ma
from flask import current_app
from flask.cli import AppGroup
from marshmallow import validate

from flaskapp.api.fields import Text
from flaskapp.cli.terminal import printable, reported_errors, shown_time
from flaskapp.tokens import MAX_NAME, Tokens

MAX_DAYS = 36500

tokens = AppGroup("tokens", help="API tokens, for `Authorization: Bearer`.")


class TokenName(ma.Schema):
    name = Text(required=True, validate=validate.Length(1, MAX_NAME))


def _check_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    for messages in TokenName().validate({"name": name}).values():
        raise click.BadParameter(" ".join(messages))
    return name


token_name = click.argument("name", callback=_check_name)


class Expiry(click.ParamType[float]):
    """A number of days from now, or a time in ISO 8601. Converts both to seconds since 1970."""

    name = "days or date"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        now = datetime.now(UTC)
        if re.fullmatch(r"\d{1,5}", value):
            if not 1 <= int(value) <= MAX_DAYS:
                self.fail(f"{value} is not between 1 and {MAX_DAYS} days", param, ctx)
            return (now + timedelta(days=int(value))).timestamp()
        try:
            expiry = datetime.fromisoformat(value)
            expiry = expiry.astimezone(UTC) if expiry.tzinfo else expiry.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a number of days nor a date such as 2030-01-31", param, ctx)
        if expiry <= now:
            self.fail(f"{value} is in the past", param, ctx)
        return expiry.timestamp()


@tokens.command()
@token_name
@click.option("--expires", type=Expiry(), help="Days from now, or a date (its beginning, UTC).  [default: never]")
def create(name: str, expires: float | None) -> None:
    """Create a token, and print it to stdout. It cannot be shown again."""
    with reported_errors():
        token = _tokens().create(name, expires)
    click.echo(f"{printable(name)} is saved. Its token, which cannot be shown again:", err=True)
    click.echo(token)


@tokens.command("list")
def list_tokens() -> None:
    """Print one token per line: name, time of creation and time of expiry, separated by tabs."""
    with reported_errors():
        for token in _tokens().saved():
            click.echo(f"{printable(token.name)}\t{shown_time(token.created_at)}\t{shown_time(token.expires_at)}")


@tokens.command()
@token_name
def revoke(name: str) -> None:
    """Remove a token. The server refuses it from now on."""
    with reported_errors():
        _tokens().revoke(name)
    click.echo(f"{printable(name)} is revoked")


def _tokens() -> Tokens:
    tokens: Tokens = current_app.extensions["tokens"]
    return tokens
