"""Timeouts of PostgreSQL connections, on both sides: a lost network sends no error.

No start-up options are sent, because PgBouncer, Neon and Supabase refuse them. Timeouts are set in each transaction, so
that they hold under transaction pooling, too, where each transaction may get another server connection.
"""

import logging
import re
from typing import Any

from sqlalchemy import URL, Connection, Engine, event

log = logging.getLogger(__name__)

LIBPQ = ("psycopg", "psycopg2")  # drivers that take libpq's parameters
OPTION = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")


def arguments(url: URL, patience: float) -> dict[str, Any]:
    """Arguments of a driver's `connect`. `patience`: seconds that a call waits for a server."""
    driver = url.get_dialect().driver
    if driver not in LIBPQ:
        return {}
    limits: dict[str, Any] = {
        "connect_timeout": int(patience),
        "tcp_user_timeout": int(patience * 1000),
        "keepalives_idle": int(patience),
        "keepalives_interval": 1,
        "keepalives_count": 2,
    }
    # A prepared statement belongs to one server connection, and the next transaction may get another.
    return limits | ({"prepare_threshold": None} if driver == "psycopg" else {})


def limit(engine: Engine, patience: float, silent: int) -> None:
    """Have the server cancel calls after `patience` seconds, and drop silent clients after `silent` seconds.

    Settings in the URL's options take precedence.
    """
    own = {name.replace("-", "_").lower() for name in OPTION.findall(str(engine.url.query.get("options", "")))}
    of_transactions = _settings(
        own,
        lock_timeout=int(patience * 1000),
        statement_timeout=int(patience * 1000),
        idle_in_transaction_session_timeout=silent * 1000,
    )
    of_connections = _settings(
        own,
        tcp_user_timeout=silent * 1000,
        tcp_keepalives_idle=silent,
        tcp_keepalives_interval=silent // 2,
        tcp_keepalives_count=2,
    )

    def connected(connection: Any, _: Any) -> None:
        try:
            connection.cursor().execute(_select(of_connections, is_local="false"))
            connection.commit()
        except engine.dialect.loaded_dbapi.Error as error:  # some compatible servers lack these settings
            connection.rollback()
            log.info("TCP keepalives cannot be set at the database server: %s", error)

    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(_select(of_transactions, is_local="true"))

    if of_connections:
        event.listen(engine, "connect", connected)
    if of_transactions:
        event.listen(engine, "begin", begun)


def _settings(own: set[str], **values: int) -> dict[str, int]:
    return {name: value for name, value in values.items() if name not in own}


def _select(settings: dict[str, int], is_local: str) -> str:
    """One statement for all, to save round trips."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', {is_local})" for name, value in settings.items())
