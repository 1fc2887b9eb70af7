"""Ollama's API: generate, chat, and what its clients ask about the models.

Reference: Ollama's API documentation (docs/api.md of its repository). Members that are not here are ignored. Times are
in nanoseconds.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response
from marshmallow import post_load

from flaskapp.api import image_quota
from flaskapp.api.caption import SQUARE
from flaskapp.api.compatible import chat
from flaskapp.api.compatible.blueprint import CompatibleBlueprint
from flaskapp.api.describe import warning
from flaskapp.api.fields import Flag, NullIsUnset, Text
from flaskapp.api.observed import trace_of_request
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.trace import Trace

VERSION = "0.12.0"  # of the API that is spoken here: clients ask whether it is new enough for them
LINES = "application/x-ndjson"
LATEST = ":latest"  # clients put it behind a name that has no tag
DETAILS = {"format": "safetensors", "family": "", "parameter_size": "", "quantization_level": ""}
IMAGES = {"description": "Image files in base64", "examples": [[SQUARE]]}


class OllamaRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    model = Text(load_default="", metadata=chat.ANY_MODEL)
    stream = Flag(load_default=True, metadata={"description": "Answer in lines of JSON", "examples": [False]})
    options = ma.fields.Nested(chat.Options, load_default=dict)


class Base64Images(ma.fields.List[str]):
    """Image files in base64, still as text."""

    def __init__(self) -> None:
        super().__init__(ma.fields.String(), load_default=list, metadata=IMAGES)


class GenerateRequest(OllamaRequest):
    prompt = Text(load_default="", metadata=chat.PROMPT)
    images = Base64Images()

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """The arguments of the view. There is no question where nothing is asked: clients load a model so."""
        found = [chat.Found(("images", place), text) for place, text in enumerate(data["images"])]
        return _arguments(data, bool(data["prompt"] or found), found, data["prompt"], "images")


class OllamaMessage(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    role = Text(required=True, metadata={"description": "The text of the last `user` counts", "examples": ["user"]})
    content = Text(load_default="", metadata=chat.PROMPT)
    images = Base64Images()


class ChatRequest(OllamaRequest):
    messages = ma.fields.List(ma.fields.Nested(OllamaMessage), load_default=list)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """As of `generate`: the images of the last message that has some, and the last text of the user."""
        found: list[chat.Found] = []
        prompt = ""
        for place, message in enumerate(data["messages"]):
            path = ("messages", place, "images")
            found = [chat.Found((*path, each), text) for each, text in enumerate(message["images"])] or found
            prompt = message["content"] if message["role"] == "user" and message["content"] else prompt
        return _arguments(data, bool(data["messages"]), found, prompt, "messages")


def _arguments(
    data: Mapping[str, Any], is_asked: bool, found: Sequence[chat.Found], prompt: str, field: str
) -> dict[str, Any]:
    return {
        "question": chat.question(found, prompt, field) if is_asked else None,
        "wanted": chat.settings(**data["options"]),
        "stream": data["stream"],
        "model": data["model"] or captioner.name,
    }


def _nanoseconds_of(what: str) -> ma.fields.Integer:
    return ma.fields.Integer(metadata={"description": f"Nanoseconds {what}", "examples": [58000000]})


def _tokens(what: str, example: int) -> ma.fields.Integer:
    return ma.fields.Integer(metadata={"description": f"Tokens {what}", "examples": [example]})


class OllamaAnswer(ma.Schema):
    model = ma.fields.String(required=True, metadata={"description": "As it was asked for", "examples": ["any"]})
    created_at = ma.fields.String(required=True, metadata={"examples": ["2026-11-26T12:00:00.000000Z"]})
    done = ma.fields.Boolean(required=True, metadata={"description": "Whether it is the last part", "examples": [True]})
    done_reason = ma.fields.String(metadata={"enum": ["stop", "length", "load"], "examples": ["stop"]})
    total_duration = _nanoseconds_of("in all")
    load_duration = _nanoseconds_of("of loading the model")
    prompt_eval_count = _tokens("that the decoder was given", 1)
    prompt_eval_duration = _nanoseconds_of("of decoding the images")
    eval_count = _tokens("that were generated", 9)
    eval_duration = _nanoseconds_of("of the model")
    warning = ma.fields.String(metadata=chat.WARNING)


class GenerateAnswer(OllamaAnswer):
    response = ma.fields.String(required=True, metadata=chat.TEXT)


class AssistantMessage(ma.Schema):
    role = ma.fields.String(required=True, metadata={"examples": ["assistant"]})
    content = ma.fields.String(required=True, metadata=chat.TEXT)


class ChatAnswer(OllamaAnswer):
    message = ma.fields.Nested(AssistantMessage, required=True)


class OllamaDetails(ma.Schema):
    """Not known here, but for the format."""

    format = ma.fields.String(required=True, metadata={"examples": ["safetensors"]})
    family = ma.fields.String(required=True, metadata={"examples": [""]})
    parameter_size = ma.fields.String(required=True, metadata={"examples": [""]})
    quantization_level = ma.fields.String(required=True, metadata={"examples": [""]})


class OllamaTag(ma.Schema):
    name = ma.fields.String(required=True, metadata=chat.MODEL)
    model = ma.fields.String(required=True, metadata=chat.MODEL)
    modified_at = ma.fields.String(required=True, metadata={"examples": ["1970-01-01T00:00:00Z"]})
    size = ma.fields.Integer(required=True, metadata={"description": "Not known: 0", "examples": [0]})
    digest = ma.fields.String(required=True, metadata={"description": "Of the weights", "examples": ["cbfba14181b9"]})
    details = ma.fields.Nested(OllamaDetails, required=True)


class OllamaTags(ma.Schema):
    models = ma.fields.List(ma.fields.Nested(OllamaTag), required=True)


class OllamaVersion(ma.Schema):
    version = ma.fields.String(
        required=True, metadata={"description": "Of the API that is spoken here", "examples": [VERSION]}
    )


class ShowRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    model = Text(metadata=chat.MODEL)
    name = Text(metadata={"description": "The same, as older clients send it", "examples": ["embedded"]})


class OllamaModel(ma.Schema):
    details = ma.fields.Nested(OllamaDetails, required=True)
    model_info = ma.fields.Dict(required=True, metadata={"examples": [{"general.name": "embedded"}]})
    capabilities = ma.fields.List(ma.fields.String(metadata={"examples": ["vision"]}), required=True)


class OllamaError(ma.Schema):
    error = ma.fields.String(required=True, metadata=chat.ERROR)


blp = CompatibleBlueprint(
    "ollama",
    __name__,
    description="The captioner, for Ollama's clients",
    error_schema=OllamaError,
    reshape=lambda _, message, __: {"error": message},
)


@blp.route("/api/generate", methods=["POST"])
@blp.arguments(GenerateRequest, location="any_json", as_kwargs=True)
@blp.response(200, GenerateAnswer, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS)
def generate(
    question: chat.Question | None, wanted: GenerationSettings, stream: bool, model: str
) -> dict[str, Any] | Response:
    """Describe images in words, as Ollama's clients ask for it"""
    return _answer(question, wanted, model, lambda text: {"response": text}, stream)


@blp.route("/api/chat", methods=["POST"])
@blp.doc(
    requestBody={
        "content": {
            "application/json": {
                "example": {"messages": [{"role": "user", "content": "", "images": [SQUARE]}], "stream": False}
            }
        }
    }
)
@blp.arguments(ChatRequest, location="any_json", as_kwargs=True)
@blp.response(200, ChatAnswer, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS)
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
    trace = trace_of_request()
    if is_streamed:
        parts = chat.Stream(question, wanted)
        return parts.response(map(_line, _parts(parts, model, shaped, trace)), LINES)
    answer = chat.answer(question, wanted)
    return _about(model) | shaped(answer.text()) | _end(answer, trace)


def _parts(
    parts: chat.Stream, model: str, shaped: Callable[[str], dict[str, Any]], trace: Trace
) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, str):
            yield _about(model) | shaped(part) | {"done": False}
        elif isinstance(part, Exception):
            yield {"error": chat.in_words(part)}
        else:
            yield _about(model) | shaped("") | _end(part, trace)


def _end(answer: chat.Answer, trace: Trace) -> dict[str, Any]:
    """What the last part of an answer says besides."""
    return {
        "done": True,
        "done_reason": "length" if answer.is_cut() else "stop",
        "total_duration": _nanoseconds(sum(trace.seconds.values())),
        "load_duration": 0,
        "prompt_eval_count": answer.prompt_tokens,
        "prompt_eval_duration": _nanoseconds(trace.seconds.get("decode", 0)),
        "eval_count": answer.completion_tokens,
        "eval_duration": _nanoseconds(trace.seconds.get("model", 0)),
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
@blp.errors(HTTPStatus.SERVICE_UNAVAILABLE)
def list_tags() -> dict[str, Any]:
    """Name the one model, as Ollama's clients ask for it"""
    name = chat.model_name()
    known = {"name": name, "model": name, "modified_at": "1970-01-01T00:00:00Z", "size": 0}
    return {"models": [known | {"digest": chat.model_version(), "details": DETAILS}]}


@blp.route("/api/show", methods=["POST"])
@blp.arguments(ShowRequest, location="any_json", as_kwargs=True)
@blp.response(200, OllamaModel)
@blp.errors(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
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
