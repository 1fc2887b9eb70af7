"""flaskapp: captions for images behind an HTTP API, and the other endpoints of the course's FastAPI application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

__version__ = "1.0.0"  # setup.cfg reads it from here


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the application from the `FLASKAPP_` variables of the environment. `config` takes precedence over them.

    Raise InvalidSetting, which names the setting, for an invalid value. No model is loaded here.
    """
    # Imported here, so that `import flaskapp.client` needs neither torch nor Flask.
    from pathlib import Path

    from flaskapp import api, cli, jobs, settings
    from flaskapp.accounts import Accounts
    from flaskapp.api.application import Application
    from flaskapp.api.caption import default_settings
    from flaskapp.captioner import Configuration, captioner
    from flaskapp.database import Database
    from flaskapp.tokens import Tokens

    app = Application(__name__, static_folder=None)
    settings.read_environment(app.config)
    app.config.update(config or {})
    settings.apply(app.config)
    defaults = default_settings(app.config["CAPTIONER_DEFAULTS"])
    captioner.configure(Configuration(**settings.of_captioner(app.config) | {"defaults": defaults}))
    app.config["DATABASE_URL"] = app.config["DATABASE_URL"] or f"sqlite:///{Path(app.instance_path) / 'flaskapp.db'}"
    database = Database(app.config["DATABASE_URL"])
    app.extensions["accounts"] = Accounts(database)
    app.extensions["tokens"] = Tokens(database)
    app.extensions["jobs"] = jobs.assemble(app.config, database, settings.data_folder(app.config, app.instance_path))
    api.init_app(app)
    cli.init_app(app, database)
    return app
