"""Timeouts of PostgreSQL connections, in the client and in the server: a lost network reports no error.

The server's timeouts are set in each transaction, because under transaction pooling each one may get another server
connection. Start-up options would not work: PgBouncer, Neon and Supabase reject them.
"""

import logging
import re
from typing import Any

from sqlalchemy import URL, Connection, Engine, event

log = logging.getLogger(__name__)

LIBPQ = ("psycopg", "psycopg2")  # drivers that take libpq's parameters
OPTION = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")


def arguments(url: URL, timeout: float) -> dict[str, Any]:
    """Return arguments for the driver's `connect`. `timeout` is in seconds."""
    driver = url.get_dialect().driver
    if driver not in LIBPQ:
        return {}
    limits: dict[str, Any] = {
        "connect_timeout": int(timeout),
        "tcp_user_timeout": int(timeout * 1000),
        "keepalives_idle": int(timeout),
        "keepalives_interval": 1,
        "keepalives_count": 2,
    }
    # No prepared statements: they belong to a server connection, and the next transaction may get another.
    return limits | ({"prepare_threshold": None} if driver == "psycopg" else {})


def limit(engine: Engine, timeout: float, idle_timeout: int) -> None:
    """Make the server cancel statements after `timeout` seconds, and drop lost clients after `idle_timeout` seconds.

    Settings in the URL's options take precedence.
    """
    own = {name.replace("-", "_").lower() for name in OPTION.findall(str(engine.url.query.get("options", "")))}
    of_transactions = _settings(
        own,
        lock_timeout=int(timeout * 1000),
        statement_timeout=int(timeout * 1000),
        idle_in_transaction_session_timeout=idle_timeout * 1000,
    )
    of_connections = _settings(
        own,
        tcp_user_timeout=idle_timeout * 1000,
        tcp_keepalives_idle=idle_timeout,
        tcp_keepalives_interval=idle_timeout // 2,
        tcp_keepalives_count=2,
    )

    def on_connect(connection: Any, _: Any) -> None:
        try:
            connection.cursor().execute(_select(of_connections, is_local="false"))
            connection.commit()
        except engine.dialect.loaded_dbapi.Error as error:  # some compatible servers lack these settings
            connection.rollback()
            log.info("TCP keepalives cannot be set at the database server: %s", error)

    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(_select(of_transactions, is_local="true"))

    if of_connections:
        event.listen(engine, "connect", on_connect)
    if of_transactions:
        event.listen(engine, "begin", on_begin)


def _settings(own: set[str], **values: int) -> dict[str, int]:
    return {name: value for name, value in values.items() if name not in own}


def _select(settings: dict[str, int], is_local: str) -> str:
    """Return one statement that sets all, to save round trips."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', {is_local})" for name, value in settings.items())
