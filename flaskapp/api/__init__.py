"""The HTTP API: one module for each resource, and modules that they share."""

from typing import Any

from flask import Flask
from flask_smorest import Api as SmorestApi
from werkzeug.exceptions import HTTPException

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
    response_headers,
    status,
    text_model,
)
from flaskapp.api.error_docs import Error
from flaskapp.api.errors import answer_error, http_message
from flaskapp.errors import FlaskappError
from flaskapp.jobs.backlog import BacklogMonitor

# In the order of the documentation: captions, the course's endpoints, operators' endpoints.
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
        """Register the default error only: operations document their other errors themselves, see `error_docs`."""
        other = {"description": "Any other error", "content": {"application/json": {"schema": Error}}}
        self.spec.components.response("DEFAULT_ERROR", other, lazy=True)

    def handle_http_exception(self, error: HTTPException) -> tuple[dict[str, Any], int, dict[str, str]]:
        """Extend flask-smorest's answer with a message and with the error's headers, such as `Allow` of a 405."""
        payload, status, headers = super().handle_http_exception(error)
        if "errors" not in payload and (message := http_message(error)):
            payload.setdefault("message", message)
        payload = compatible.shape_unknown(payload)
        kept = {name: value for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")}
        return payload, status, kept | (headers or {})  # None for webargs' errors

    def _register_pagination_header(self) -> None:
        """Register no header: the views of pages document theirs."""


def init_app(app: Flask) -> None:
    """Register the resources, their documentation, the error handlers, and the hooks and middleware of all requests."""
    app.config.from_mapping(OPENAPI)
    app.json.sort_keys = False  # type: ignore[attr-defined] # answers have the order of their schemas
    app.url_map.strict_slashes = False  # /login and /login/ are the same
    app.url_map.merge_slashes = False  # merging redirects to the host that the request names
    app.extensions["database_check"] = probes.watch_database(app.extensions["accounts"])
    app.extensions["job_backlog"] = BacklogMonitor(app.extensions["jobs"].ledger.backlog)
    app.before_request(application.reject_ambiguous_paths)
    app.url_map.converters["model"] = compatible.ModelName
    api = Api(app)
    api.ma_plugin.converter.add_attribute_function(fields.document_with(app.config))
    for resource in RESOURCES:
        api.register_blueprint(resource.blp)
    docs.init_app(app, api.spec)
    app.register_blueprint(demo.blp)
    app.register_error_handler(FlaskappError, answer_error)
    prefix.init_app(app)
    blueprints = [resource.blp for resource in RESOURCES]
    rate_limits.init_app(app, login.blp, [blp for blp in blueprints if isinstance(blp, protected.ProtectedBlueprint)])
    cors.init_app(app)
    metrics.init_app(app)
    response_headers.init_app(app)  # last: its middleware is the outermost
    development_log.init_app()
