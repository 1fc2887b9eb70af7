"""The HTTP side: one module a resource, and what they share."""

from typing import Any

from flask import Flask, current_app
from flask_smorest import Api as SmorestApi
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed, NotFound, RequestEntityTooLarge

from flaskapp import __version__
from flaskapp.api import (
    application,
    caption,
    caption_jobs,
    compatible,
    cors,
    cv_model,
    demo,
    development_log,
    docs,
    fields,
    image_to_text,
    items,
    login,
    metrics,
    prefix,
    probes,
    protected,
    rate_limits,
    request_metrics,
    security_headers,
    status,
    text_model,
)
from flaskapp.api.error_answer import answer_error
from flaskapp.api.error_docs import Error, too_large
from flaskapp.errors import FlaskappError
from flaskapp.jobs.backlog import BacklogMonitor

# In the order of the documentation: captions first, then what the course asks for, then what operators need.
RESOURCES = (
    *(caption, caption_jobs, image_to_text),
    *compatible.RESOURCES,
    *(status, items, login, text_model, cv_model),
    *(probes, metrics),
)

DESCRIPTION = "Captions for images, and the other endpoints of an MLOps course, in Flask."

OPENAPI = {
    "API_TITLE": "flaskapp",
    "API_VERSION": __version__,
    "OPENAPI_VERSION": "3.1.0",
    "API_SPEC_OPTIONS": {"info": {"description": DESCRIPTION, "license": {"name": "MIT", "identifier": "MIT"}}},
}


class Api(SmorestApi):
    ERROR_SCHEMA = Error

    def _register_responses(self) -> None:
        """Operations document their errors themselves: see `error_docs`. There may be others."""
        other = {"description": "Any other error", "content": {"application/json": {"schema": Error}}}
        self.spec.components.response("DEFAULT_ERROR", other, lazy=True)

    def handle_http_exception(self, error: HTTPException) -> tuple[dict[str, Any], int, dict[str, str]]:
        """As flask-smorest's, with the words and the headers that belong to the error: a 405 names what is allowed."""
        payload, status, headers = super().handle_http_exception(error)
        if "errors" not in payload and (message := _message(error)):
            payload.setdefault("message", message)
        payload = compatible.shape_unknown(payload)
        own = {name: value for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")}
        return payload, status, own | (headers or {})  # webargs says None

    def _register_pagination_header(self) -> None:
        """Nothing here comes in pages."""


def _message(error: HTTPException) -> str | None:
    """What to tell of an error that Werkzeug raises without words for an API, or of ours that is one of Werkzeug's."""
    if isinstance(error, NotFound):
        return "there is nothing at this address"
    if isinstance(error, MethodNotAllowed):
        *others, last = sorted(set(error.valid_methods or ()) - {"OPTIONS"}) or ["OPTIONS"]
        return f"this address takes {', '.join(others)} and {last}" if others else f"this address takes {last}"
    if isinstance(error, RequestEntityTooLarge):
        return too_large(current_app.config)
    if isinstance(error, ClientDisconnected):
        return "the body ended before its length"
    own: str | None = vars(error).get("description")  # not its class's
    return own


def init_app(app: Flask) -> None:
    """Register every resource, their documentation and the one mapping of errors to answers."""
    app.config.from_mapping(OPENAPI)
    app.json.sort_keys = False  # type: ignore[attr-defined] # answers have the order of their schemas
    app.url_map.strict_slashes = False  # a trailing slash never matters
    app.url_map.merge_slashes = False  # it would redirect, to the host that the request names
    app.extensions["database_check"] = probes.watch_database(app.extensions["accounts"])
    app.extensions["job_backlog"] = BacklogMonitor(app.extensions["jobs"].ledger.backlog)
    app.before_request(application.refuse_other_spellings)
    app.url_map.converters["model"] = compatible.ModelName
    api = Api(app)
    api.ma_plugin.converter.add_attribute_function(fields.document_with(app.config))
    for resource in RESOURCES:
        api.register_blueprint(resource.blp)
    docs.init_app(app, api.spec)
    app.register_blueprint(demo.blp)
    app.register_error_handler(FlaskappError, answer_error)
    prefix.init_app(app)
    request_metrics.init_app(app)  # first, so that its hook is the last
    blueprints = [resource.blp for resource in RESOURCES]
    rate_limits.init_app(app, login.blp, [blp for blp in blueprints if isinstance(blp, protected.ProtectedBlueprint)])
    cors.init_app(app)
    security_headers.init_app(app)
    development_log.init_app()
