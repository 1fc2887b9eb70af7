"""The program `flaskapp`: `serve`, and the commands of the application."""

import sys
from typing import TYPE_CHECKING

import click
from flask.cli import FlaskGroup

from flaskapp import __version__

if TYPE_CHECKING:
    from flask import Flask

SERVE = "serve"


def main() -> None:
    """Run `flaskapp`.

    gunicorn starts without click: in a click context each worker would import Alembic for the command `db`.
    """
    if sys.argv[1:2] == [SERVE]:
        from flaskapp.serving.server import Server

        Server().run()
    else:
        _commands()(prog_name="flaskapp")


def _commands() -> FlaskGroup:
    group = FlaskGroup(
        create_app=_app,
        add_default_commands=False,
        add_version_option=False,
        set_debug_flag=False,
        context_settings={"auto_envvar_prefix": None},  # FLASKAPP_ variables are settings
        help="Captions for images behind an HTTP API.",
    )
    group.params.clear()  # removes --app: the application is fixed
    serve = click.Command(SERVE, help="Serve with gunicorn. Takes gunicorn's options, such as --bind 0.0.0.0:80.")
    group.add_command(serve)
    return click.version_option(__version__, prog_name="flaskapp")(group)


def _app() -> "Flask":
    from flaskapp.wsgi import app

    return app


if __name__ == "__main__":
    main()
