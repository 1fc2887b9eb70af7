"""The commands `users`, `tokens` and `caption` of `flask --app wsgi`, and Flask-Migrate's `db`."""

import click
from flask import Flask

from flaskapp import migrations
from flaskapp.cli.caption import caption
from flaskapp.cli.tokens import tokens
from flaskapp.cli.users import users
from flaskapp.database import Database


def init_app(app: Flask, database: Database) -> None:
    """Add the commands. Without a running command, skip Flask-Migrate: Alembic would cost a server 25 MB."""
    for command in (users, tokens, caption):
        app.cli.add_command(command)
    if click.get_current_context(silent=True):
        from flask_migrate import Migrate

        Migrate(app, database, migrations.FOLDER)
