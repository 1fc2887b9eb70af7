"""The commands `flask --app wsgi users`, `… tokens` and `… caption`, and `… db`, which are Flask-Migrate's."""

import click
from flask import Flask

from flaskapp import migrations
from flaskapp.cli.caption import caption
from flaskapp.cli.tokens import tokens
from flaskapp.cli.users import users
from flaskapp.database import Database


def init_app(app: Flask, database: Database) -> None:
    """Add the commands. Those of Flask-Migrate only where a command runs: a server does without 25 MB of Alembic."""
    for command in (users, tokens, caption):
        app.cli.add_command(command)
    if click.get_current_context(silent=True):
        from flask_migrate import Migrate

        Migrate(app, database, migrations.FOLDER)
