"""Liveness and readiness probes, for orchestrators and load balancers."""

from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response, current_app, jsonify

from flaskapp.accounts import Accounts
from flaskapp.api.blueprint import Blueprint
from flaskapp.api.status import OK, Status
from flaskapp.captioner import captioner
from flaskapp.readiness import RecentCheck

RETRY_AFTER = 5  # seconds


class PartState(ma.Schema):
    ready = ma.fields.Boolean(required=True, metadata={"description": "Whether it can be used", "examples": [True]})
    message = ma.fields.String(
        required=True, metadata={"description": "OK, the problem, or a note", "examples": ["OK"]}
    )


class ModelState(PartState):
    name = ma.fields.String(
        required=True, metadata={"description": "The model that writes captions", "examples": ["embedded"]}
    )
    decoder = ma.fields.String(
        metadata={
            "description": "The decoder of requests with the default settings: the fast decoder, or transformers' "
            "`generate`. This member and the next ones are present once the model is loaded",
            "enum": ["fast", "generate"],
            "examples": ["fast"],
        }
    )
    reason = ma.fields.String(
        metadata={
            "description": "Why the decoder is `generate`, if it is",
            "examples": ["there is no description of GitForCausalLM"],
        }
    )
    precision = ma.fields.String(
        metadata={
            "description": "The precision of the model: `FLASKAPP_CAPTIONER_PRECISION`, or the choice of `auto`",
            "enum": ["fp32", "bf16", "fp16", "int8"],
            "examples": ["fp32"],
        }
    )
    precision_reason = ma.fields.String(
        metadata={"description": "Why `auto` chose the precision, if it did", "examples": ["the CPU has AVX512_BF16"]}
    )
    takes_prompt = ma.fields.Boolean(metadata={"description": "Whether `prompt` is accepted", "examples": [False]})
    defaults = ma.fields.Dict(
        keys=ma.fields.String(),
        metadata={
            "description": "The generation settings of a request without `config`",
            "examples": [{"max_length": 16, "num_beams": 8}],
        },
    )


class Ready(Status):
    model = ma.fields.Nested(ModelState, required=True)
    database = ma.fields.Nested(PartState, required=True)


class NotReady(ma.Schema):
    """The shape of all errors, with the states of the model and the database."""

    code = ma.fields.Integer(required=True, metadata={"description": "The HTTP status", "examples": [503]})
    status = ma.fields.String(
        required=True, metadata={"description": "The HTTP status in words", "examples": ["Service Unavailable"]}
    )
    message = ma.fields.String(
        required=True, metadata={"description": "What went wrong", "examples": ["the model is being loaded"]}
    )
    model = ma.fields.Nested(ModelState, required=True)
    database = ma.fields.Nested(PartState, required=True)


def watch_database(accounts: Accounts) -> RecentCheck:
    return RecentCheck(accounts.check_database, "the database does not answer within two seconds")


blp = Blueprint("probes", __name__, description="Liveness and readiness probes")


@blp.route("/livez")
@blp.route("/health")
@blp.route("/v2/health/live")
@blp.response(200, Status)
def live() -> dict[str, object]:
    """Answer OK as long as the process runs"""
    return OK


@blp.route("/readyz")
@blp.route("/healthz")
@blp.route("/v2/health/ready")
@blp.response(200, Ready)
@blp.alt_response(
    503,
    schema=NotReady,
    description="The model or the database is not ready",
    headers={"Retry-After": {"description": "Seconds to wait before another try", "schema": {"type": "integer"}}},
)
def ready() -> Any:
    """Report whether the model and the database are ready

    If no model is being loaded yet, as under `flask run`, the first call starts to load it.
    """
    captioner.load_in_background()
    parts = {
        "model": _part(captioner.problem, captioner.note) | {"name": captioner.name} | _decoding(),
        "database": _part(current_app.extensions["database_check"].problem()),
    }
    problems = [str(part["message"]) for part in parts.values() if not part["ready"]]
    return _not_ready(problems, parts) if problems else OK | parts


def _part(problem: str | None, note: str | None = None) -> dict[str, object]:
    return {"ready": problem is None, "message": problem or note or "OK"}


def _decoding() -> dict[str, object]:
    """Return the decoder, the precision and the defaults once the model is loaded."""
    if captioner.defaults is None:
        return {}
    shown: dict[str, object] = {
        "decoder": captioner.decoder,
        "precision": captioner.precision,
        "takes_prompt": captioner.takes_prompt,
        "defaults": captioner.defaults.shown(),
    }
    reasons = {"reason": captioner.decoder_reason, "precision_reason": captioner.precision_reason}
    return shown | {name: reason for name, reason in reasons.items() if reason is not None}


def _not_ready(problems: list[str], parts: dict[str, dict[str, object]]) -> Response:
    status = HTTPStatus.SERVICE_UNAVAILABLE
    response = jsonify({"code": status, "status": status.phrase, "message": "; ".join(problems)} | parts)
    response.status_code = status
    response.headers["Retry-After"] = str(RETRY_AFTER)
    return response
