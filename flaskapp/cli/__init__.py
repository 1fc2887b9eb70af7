"""The commands: `flask --app wsgi users` and `flask --app wsgi caption`."""

from flask import Flask

from flaskapp.cli.caption import caption
from flaskapp.cli.users import users


def init_app(app: Flask) -> None:
    for command in (users, caption):
        app.cli.add_command(command)
