"""Ollama's API: generate, chat, and the endpoints about models.

Reference: Ollama's API documentation (docs/api.md of its repository). Other members of requests are ignored. `warning`
names those that change an answer of Ollama's. Times are in nanoseconds.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from flask import Response

from flaskapp.api import image_quota
from flaskapp.api.application import current_request
from flaskapp.api.caption import SQUARE
from flaskapp.api.compatible import chat
from flaskapp.api.compatible.blueprint import CompatibleBlueprint
from flaskapp.api.compatible.ollama_schemas import (
    VERSION,
    ChatAnswer,
    ChatRequest,
    GenerateAnswer,
    GenerateRequest,
    OllamaError,
    OllamaModel,
    OllamaTags,
    OllamaVersion,
    ShowRequest,
)
from flaskapp.api.compatible.streaming import Stream, error_text
from flaskapp.api.describe import warning
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.timings import Timings

LINES = "application/x-ndjson"
LATEST = ":latest"  # clients add it to a name without a tag
DETAILS = {"format": "safetensors", "family": "", "parameter_size": "", "quantization_level": ""}

blp = CompatibleBlueprint(
    "ollama",
    __name__,
    description="The captioner, for Ollama's clients",
    error_schema=OllamaError,
    reshape=lambda _, message, __: {"error": message},
)


@blp.route("/api/generate", methods=["POST"])
@blp.json_body(GenerateRequest, example={"images": [SQUARE], "stream": False})
@blp.answers_also(LINES)
@blp.response(200, GenerateAnswer, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS, messages=chat.MESSAGES)
def generate(
    question: chat.Question | None, settings: GenerationSettings, stream: bool, model: str
) -> dict[str, Any] | Response:
    """Describe images in words, for Ollama's clients"""
    return _answer(question, settings, model, lambda text: {"response": text}, stream)


@blp.route("/api/chat", methods=["POST"])
@blp.json_body(
    ChatRequest, example={"messages": [{"role": "user", "content": "", "images": [SQUARE]}], "stream": False}
)
@blp.answers_also(LINES)
@blp.response(200, ChatAnswer, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS, messages=chat.MESSAGES)
def continue_chat(
    question: chat.Question | None, settings: GenerationSettings, stream: bool, model: str
) -> dict[str, Any] | Response:
    """Describe the images of a chat in words, for Ollama's clients"""
    return _answer(question, settings, model, lambda text: {"message": {"role": "assistant", "content": text}}, stream)


def _answer(
    question: chat.Question | None,
    settings: GenerationSettings,
    model: str,
    shaped: Callable[[str], dict[str, Any]],
    is_streamed: bool,
) -> dict[str, Any] | Response:
    """Return the answer, as one object or in lines. `shaped` makes the members of a text."""
    if question is None:
        chat.model_name(waits=True)
        loaded = _about(model) | shaped("") | {"done": True, "done_reason": "load"}
        return Response(_line(loaded), mimetype=LINES) if is_streamed else loaded
    timings = current_request().timings
    if is_streamed:
        parts = Stream(question, settings)
        return parts.response(map(_line, _parts(parts, model, shaped, timings)), LINES)
    answer = chat.answer_question(question, settings)
    return _about(model) | shaped(answer.text()) | _end(answer, timings)


def _parts(
    parts: Stream, model: str, shaped: Callable[[str], dict[str, Any]], timings: Timings
) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, str):
            yield _about(model) | shaped(part) | {"done": False}
        elif isinstance(part, Exception):
            yield {"error": error_text(part)}
        else:
            yield _about(model) | shaped("") | _end(part, timings)


def _end(answer: chat.Answer, timings: Timings) -> dict[str, Any]:
    """Return the members of the last part of an answer: why it ended, counts and durations."""
    return {
        "done": True,
        "done_reason": "length" if answer.is_cut() else "stop",
        "total_duration": _nanoseconds(sum(timings.seconds.values())),
        "load_duration": 0,
        "prompt_eval_count": answer.prompt_tokens,
        "prompt_eval_duration": _nanoseconds(timings.seconds.get("decode", 0)),
        "eval_count": answer.completion_tokens,
        "eval_duration": _nanoseconds(timings.seconds.get("model", 0)),
        **warning(*answer.warnings),
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _about(model: str) -> dict[str, Any]:
    return {"model": model, "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z")}


def _line(part: dict[str, Any]) -> str:
    return json.dumps(part) + "\n"


@blp.route("/api/tags")
@blp.response(200, OllamaTags)
@blp.errors(HTTPStatus.SERVICE_UNAVAILABLE, messages=chat.METADATA_MESSAGES)
def list_tags() -> dict[str, Any]:
    """List the model, for Ollama's clients"""
    name = chat.model_name()
    known = {"name": name, "model": name, "modified_at": "1970-01-01T00:00:00Z", "size": 0}
    return {"models": [known | {"digest": chat.model_version(), "details": DETAILS}]}


@blp.route("/api/show", methods=["POST"])
@blp.json_body(ShowRequest, example={"model": "embedded"})
@blp.response(200, OllamaModel)
@blp.errors(
    HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE, messages=chat.METADATA_MESSAGES
)
def show(model: str = "", name: str = "") -> dict[str, Any]:
    """Show the model, for Ollama's clients"""
    chat.check_name((model or name).removesuffix(LATEST))
    return {
        "details": DETAILS,
        "model_info": {"general.name": captioner.name, "general.version": chat.model_version()},
        "capabilities": ["completion", "vision"],
    }


@blp.route("/api/version")
@blp.response(200, OllamaVersion)
def version() -> dict[str, str]:
    """Return the supported version of Ollama's API"""
    return {"version": VERSION}
