"""Log formats for gunicorn and the application: text, or one JSON object per line (`LOG_FORMAT=json`)."""

import json
import logging
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from flask import has_request_context, request

from flaskapp import trace_context
from flaskapp.serving.access_log import FORMAT, AccessLogger
from flaskapp.timings import KEY, Timings

log = logging.getLogger(__name__)


class JSONFormatter(logging.Formatter):
    """Formats a record as one line: time, level, logger, process, message, request, trace and traceback.

    If a record has `fields`, they replace the message.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
        }
        entry |= getattr(record, "fields", None) or {"message": record.getMessage()}
        if has_request_context():
            entry["request_id"] = request.environ[KEY].id
        if trace_id := trace_context.trace_id():
            entry["trace_id"] = trace_id
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """Formats a record as text, with the id of its distributed trace."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides logging's method
        trace_id = trace_context.trace_id()
        return super().formatMessage(record) + (f" trace_id={trace_id}" if trace_id else "")


class JSONLogger(AccessLogger):
    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        _log_everything()
        loggers = [self.error_log] if self._has_own_format() else [self.error_log, self.access_log]
        for handler in [handler for logger in loggers for handler in logger.handlers]:
            if isinstance(handler, logging.StreamHandler):  # not syslog, whose lines have their own beginning
                handler.setFormatter(JSONFormatter())

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        if self._has_own_format():
            super().access(resp, req, environ, request_time)
        elif self.access_log_enabled:
            self.access_log.info("", extra={"fields": _fields(resp, environ, request_time)})

    def _has_own_format(self) -> bool:
        return bool(self.cfg.access_log_format != FORMAT)


def _fields(resp: Any, environ: dict[str, Any], request_time: timedelta) -> dict[str, Any]:
    """Return the fields of a request's log line: never its query string, credentials or body."""
    timings: Timings = environ.get(KEY) or Timings()
    fields = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["RAW_URI"].partition("?")[0],
        "status": int(str(resp.status).partition(" ")[0]),
        "bytes": resp.sent,
        "duration_ms": round(request_time / timedelta(milliseconds=1), 1),
        "client": environ.get("REMOTE_ADDR"),
        "user_agent": environ.get("HTTP_USER_AGENT"),
        "request_id": timings.id,
    }
    if timings.batch_size is not None:
        fields["batch_size"] = timings.batch_size
    return fields | {f"{part}_ms": round(1000 * seconds, 1) for part, seconds in timings.seconds.items()}


def configure(form: str) -> None:
    """Configure logging in a process that is not gunicorn's. `form` is the setting LOG_FORMAT."""
    if form == "json":
        from huggingface_hub.utils.tqdm import disable_progress_bars

        _log_everything()
        disable_progress_bars()  # of downloads: they are not JSON lines
    else:
        handler = logging.StreamHandler()
        handler.setFormatter(TextFormatter())
        logging.basicConfig(level=logging.INFO, handlers=[handler])


def _log_everything() -> None:
    """Format what bypasses gunicorn's loggers: the application's records, warnings and uncaught errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda caught: _log_uncaught(
        caught.exc_type, caught.exc_value or caught.exc_type(), caught.exc_traceback
    )


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    log.critical("Uncaught error", exc_info=(kind, error, traceback))
