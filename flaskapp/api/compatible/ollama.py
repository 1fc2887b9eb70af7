"""Ollama's API: generate, chat, and what its clients ask about the models.

Reference: Ollama's API documentation (docs/api.md of its repository). Other members are ignored,
and named in `warning` if a client would rely on them. Times are in nanoseconds.
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
from flaskapp.api.compatible.streaming import Stream, in_words
from flaskapp.api.describe import warning
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.timings import Timings

LINES = "application/x-ndjson"
LATEST = ":latest"  # clients put it behind a name that has no tag
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
    question: chat.Question | None, wanted: GenerationSettings, stream: bool, model: str
) -> dict[str, Any] | Response:
    """Describe images in words, as Ollama's clients ask for it"""
    return _answer(question, wanted, model, lambda text: {"response": text}, stream)


@blp.route("/api/chat", methods=["POST"])
@blp.json_body(
    ChatRequest, example={"messages": [{"role": "user", "content": "", "images": [SQUARE]}], "stream": False}
)
@blp.answers_also(LINES)
@blp.response(200, ChatAnswer, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS, messages=chat.MESSAGES)
def continue_chat(
    question: chat.Question | None, wanted: GenerationSettings, stream: bool, model: str
) -> dict[str, Any] | Response:
    """Describe the images of a chat in words, as Ollama's clients ask for it"""
    return _answer(question, wanted, model, lambda text: {"message": {"role": "assistant", "content": text}}, stream)


def _answer(
    question: chat.Question | None,
    wanted: GenerationSettings,
    model: str,
    shaped: Callable[[str], dict[str, Any]],
    is_streamed: bool,
) -> dict[str, Any] | Response:
    """The answer, whole or in lines, with its words as they are `shaped`."""
    if question is None:
        chat.model_name(waits=True)
        loaded = _about(model) | shaped("") | {"done": True, "done_reason": "load"}
        return Response(_line(loaded), mimetype=LINES) if is_streamed else loaded
    timings = current_request().timings
    if is_streamed:
        parts = Stream(question, wanted)
        return parts.response(map(_line, _parts(parts, model, shaped, timings)), LINES)
    answer = chat.answer(question, wanted)
    return _about(model) | shaped(answer.text()) | _end(answer, timings)


def _parts(
    parts: Stream, model: str, shaped: Callable[[str], dict[str, Any]], timings: Timings
) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, str):
            yield _about(model) | shaped(part) | {"done": False}
        elif isinstance(part, Exception):
            yield {"error": in_words(part)}
        else:
            yield _about(model) | shaped("") | _end(part, timings)


def _end(answer: chat.Answer, timings: Timings) -> dict[str, Any]:
    """What the last part of an answer says besides."""
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
    """Name the one model, as Ollama's clients ask for it"""
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
    """Tell of the one model, as Ollama's clients ask for it"""
    chat.check_name((model or name).removesuffix(LATEST))
    return {
        "details": DETAILS,
        "model_info": {"general.name": captioner.name, "general.version": chat.model_version()},
        "capabilities": ["completion", "vision"],
    }


@blp.route("/api/version")
@blp.response(200, OllamaVersion)
def version() -> dict[str, str]:
    """Tell the version of Ollama's API that is spoken here"""
    return {"version": VERSION}
