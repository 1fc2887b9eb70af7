"""Warn at the start of saved logins that clients may have registered."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flaskapp.accounts import Accounts
from flaskapp.errors import DatabaseUnavailable

log = logging.getLogger(__name__)


def warn(config: Mapping[str, Any], accounts: Accounts) -> None:
    """Log how many there are, since when, and what to do, if logins are required and registration is closed."""
    if not config["REQUIRE_LOGIN"] or config["REGISTRATION"] != "closed":
        return
    try:
        registered, unknown, since = accounts.unvetted()
    except DatabaseUnavailable:
        log.warning("Registered logins could not be counted: the database cannot be used at the moment")
        return
    if not registered + unknown:
        return
    when = "" if since is None else f" The first was saved at {datetime.fromtimestamp(since, UTC):%Y-%m-%d %H:%M} UTC."
    log.warning(
        "%d saved logins were registered while registration was open, and %d are of unknown origin."
        " All of them are let in.%s See them with `flask --app wsgi users list`. Remove them with"
        " `flask --app wsgi users remove --registered` and `--unknown`. Keep one by giving it a password with"
        " `flask --app wsgi users add --replace NAME`",
        registered, unknown, when,
    )  # fmt: skip
