"""gunicorn's log line for each request: method, path, status and id, never the query string."""

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

from flaskapp.timings import KEY

FORMAT = '%(h)s %(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s %(M)sms "%(a)s" %({x-request-id}o)s'


def _path(address: str) -> str:
    return address.partition("?")[0]


def _without_queries(environ: dict[str, Any]) -> dict[str, Any]:
    """Remove query strings from the environment: the deprecated login has its password there."""
    addresses = {name: _path(environ[name]) for name in ("RAW_URI", "HTTP_REFERER") if name in environ}
    return environ | addresses | {"QUERY_STRING": ""}


class AccessLogger(Logger):  # type: ignore[misc]
    """gunicorn's logger, but it does not copy every header and variable of each request.

    To send metrics to statsd, add `--logger-class gunicorn.instrument.statsd.Statsd` to the command line.
    """

    def reopen_files(self) -> None:
        """Reopen the log files on SIGUSR1. Makes the workers' user their owner, as gunicorn does only at the start.

        A worker that cannot open its file keeps the old one; with gunicorn's own method it would exit.
        """
        files = {
            Path(handler.baseFilename)
            for logger in (self.error_log, self.access_log)
            for handler in logger.handlers
            if isinstance(handler, logging.FileHandler)
        }
        for file in sorted(files):
            if not os.access(file if file.exists() else file.parent, os.W_OK):
                self.warning("The log file %s cannot be reopened: the old one stays in use", file)
                return
        super().reopen_files()
        if os.geteuid() == 0:
            for file in files:
                os.chown(file, self.cfg.uid, self.cfg.gid)

    def atoms(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> dict[str, Any]:
        if self.cfg.access_log_format != FORMAT:  # a configured format may use any atom
            atoms: dict[str, Any] = super().atoms(resp, req, _without_queries(environ), request_time)
            return atoms | {"{referer}i": _path(environ.get("HTTP_REFERER", "-"))}
        timings = environ.get(KEY)
        return {
            "h": environ.get("REMOTE_ADDR", "-"),
            "t": self.now(),
            "m": environ["REQUEST_METHOD"],
            "U": _path(environ["RAW_URI"]),  # percent-encoded, so without line breaks
            "H": environ["SERVER_PROTOCOL"],
            "s": str(resp.status).partition(" ")[0],
            "b": resp.sent,
            "M": request_time // timedelta(milliseconds=1),
            "a": environ.get("HTTP_USER_AGENT", "-"),
            "{x-request-id}o": timings.id if timings else "-",
        }
