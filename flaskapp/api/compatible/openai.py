"""OpenAI's chat completions and models: what its SDKs and all that use them ask for.

Reference: OpenAI's API reference, "Chat Completions" and "Models". Members that are not here are ignored, as clients
send what other servers of this API take.
"""

import json
import time
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response
from marshmallow import ValidationError, post_load, validate

from flaskapp.api import image_quota
from flaskapp.api.caption import SQUARE
from flaskapp.api.compatible import chat
from flaskapp.api.compatible.blueprint import CompatibleBlueprint
from flaskapp.api.describe import warning
from flaskapp.api.fields import Flag, NullIsUnset, Text, WholeNumber
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.captioner.generation import MAX_BEAMS

CONTENT = [
    {"type": "text", "text": "Describe this image."},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SQUARE}"}},
]
EXAMPLE = {"model": "any", "messages": [{"role": "user", "content": CONTENT}]}
TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
CODES = {HTTPStatus.UNAUTHORIZED: "invalid_api_key", HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded"}


class Content(ma.fields.Field[list[dict[str, Any]]]):
    """A message's parts; a text alone is one part."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[dict[str, Any]]:
        if isinstance(value, str):
            return [{"type": "text", "text": value}]
        if not isinstance(value, list):
            raise ValidationError("Neither a string nor a list of parts.")
        for place, part in enumerate(value):
            if not isinstance(part, dict):
                raise ValidationError({place: ["Not an object."]})
        return value


class ChatMessage(ma.Schema):
    class Meta:
        unknown = ma.EXCLUDE

    role = Text(required=True, metadata={"description": "The text of the last `user` counts", "examples": ["user"]})
    content = Content(
        load_default=list,
        allow_none=True,
        metadata={
            "description": "A text, or parts of type `text` and `image_url`. The images of the last message that has "
            "some are described: data URLs, or addresses of the hosts that this server fetches from",
            "examples": [CONTENT],
        },
    )


class StreamOptions(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    include_usage = Flag(load_default=False, metadata={"description": "Tell `usage` at the end", "examples": [True]})


class ChatCompletionRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    model = Text(load_default="", metadata=chat.ANY_MODEL)
    messages = ma.fields.List(ma.fields.Nested(ChatMessage), required=True, validate=validate.Length(min=1))
    max_tokens = chat.length("The most tokens of the answer")
    max_completion_tokens = chat.length("The same; takes precedence")
    n = WholeNumber(
        load_default=1,
        validate=validate.Range(1, MAX_BEAMS),
        metadata={"description": "How many answers", "examples": [1]},
    )
    temperature = chat.number(0, 100, "Above 0: draw tokens at random. Absent: the model's own search", 0)
    top_p = chat.number(0, 1, "Draw from the likeliest tokens that sum to this", 1)
    seed = chat.seed()
    stream = Flag(load_default=False, metadata={"description": "Answer by server-sent events", "examples": [False]})
    stream_options = ma.fields.Nested(StreamOptions, load_default=dict)

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        """`question` and `wanted` in place of the members that they come from."""
        question = _question(data.pop("messages"))
        tokens, most = data.pop("max_tokens", None), data.pop("max_completion_tokens", None)
        wanted = chat.settings(
            num_predict=tokens if most is None else most,
            num_return_sequences=data.pop("n"),
            **{name: data.pop(name, None) for name in ("temperature", "top_p", "seed")},
        )
        return {
            "question": question,
            "wanted": wanted,
            "stream": data["stream"],
            "include_usage": bool(data["stream_options"].get("include_usage")),
        }


def _question(messages: list[dict[str, Any]]) -> chat.Question:
    """What a conversation asks last: the images of the last message that has some, and the last text of its user."""
    images: list[chat.Found] = []
    prompt = ""
    for place, message in enumerate(messages):
        found, text = _parts(message["content"] or [], ("messages", place, "content"))
        images = found or images
        if message["role"] == "user" and text:
            prompt = text
    return chat.question(images, prompt, "messages")


def _parts(content: list[dict[str, Any]], path: chat.Path) -> tuple[list[chat.Found], str]:
    """A message's images and its text. Raises ValidationError for parts of other types."""
    images, texts = [], []
    for place, part in enumerate(content):
        kind = part.get("type")
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), (*path, place, "image_url")))
        else:
            raise ValidationError(chat.nested((*path, place), "Neither a text nor an image_url."))
    return images, "\n".join(texts).strip()


def _image(value: Any, path: chat.Path) -> chat.Found:
    """Some clients send the address alone, without the object around it."""
    if isinstance(value, dict):
        value, path = value.get("url"), (*path, "url")
    if not isinstance(value, str):
        raise ValidationError(chat.nested(path, "Not a string."))
    return chat.Found(path, value)


class CompletionMessage(ma.Schema):
    role = ma.fields.String(required=True, metadata={"examples": ["assistant"]})
    content = ma.fields.String(required=True, metadata=chat.TEXT)


class CompletionChoice(ma.Schema):
    index = ma.fields.Integer(required=True, metadata={"examples": [0]})
    message = ma.fields.Nested(CompletionMessage, required=True)
    finish_reason = ma.fields.String(required=True, metadata={"enum": ["stop", "length"], "examples": ["stop"]})


class CompletionUsage(ma.Schema):
    prompt_tokens = ma.fields.Integer(
        required=True, metadata={"description": "Of text: images have none", "examples": [1]}
    )
    completion_tokens = ma.fields.Integer(required=True, metadata={"examples": [9]})
    total_tokens = ma.fields.Integer(required=True, metadata={"examples": [10]})


class ChatCompletion(ma.Schema):
    id = ma.fields.String(required=True, metadata={"examples": ["chatcmpl-0b126edcdfc1404a9712c4a98e6338d5"]})
    object = ma.fields.String(required=True, metadata={"examples": ["chat.completion"]})
    created = ma.fields.Integer(required=True, metadata={"description": "Seconds since 1970", "examples": [1790000000]})
    model = ma.fields.String(required=True, metadata=chat.MODEL)
    choices = ma.fields.List(ma.fields.Nested(CompletionChoice), required=True)
    usage = ma.fields.Nested(CompletionUsage, required=True)
    warning = ma.fields.String(metadata=chat.WARNING)


class OpenAIModel(ma.Schema):
    id = ma.fields.String(required=True, metadata={"description": "Its name", "examples": ["embedded"]})
    object = ma.fields.String(required=True, metadata={"examples": ["model"]})
    created = ma.fields.Integer(required=True, metadata={"description": "Not known: 0", "examples": [0]})
    owned_by = ma.fields.String(required=True, metadata={"examples": ["flaskapp"]})


class OpenAIModels(ma.Schema):
    object = ma.fields.String(required=True, metadata={"examples": ["list"]})
    data = ma.fields.List(ma.fields.Nested(OpenAIModel), required=True)


class OpenAIErrorDetails(ma.Schema):
    message = ma.fields.String(required=True, metadata=chat.ERROR)
    type = ma.fields.String(required=True, metadata={"examples": ["invalid_request_error"]})
    param = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Where", "examples": ["messages.0.content"]}
    )
    code = ma.fields.String(required=True, allow_none=True, metadata={"examples": [None]})


class OpenAIError(ma.Schema):
    error = ma.fields.Nested(OpenAIErrorDetails, required=True)


def reshape_error(status: HTTPStatus, message: str, param: str | None) -> dict[str, Any]:
    """The body that OpenAI's clients show."""
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    details = {"message": message, "type": TYPES.get(status, kind), "param": param}
    return {"error": details | {"code": CODES.get(status)}}


blp = CompatibleBlueprint(
    "openai",
    __name__,
    description="The captioner, for OpenAI's clients",
    error_schema=OpenAIError,
    reshape=reshape_error,
)


@blp.route("/v1/chat/completions", methods=["POST"])
@blp.doc(requestBody={"content": {"application/json": {"example": EXAMPLE}}})
@blp.arguments(ChatCompletionRequest, location="any_json", as_kwargs=True)
@blp.response(200, ChatCompletion, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS)
def create_chat_completion(
    question: chat.Question, wanted: GenerationSettings, stream: bool, include_usage: bool
) -> dict[str, Any] | Response:
    """Describe images in words, as OpenAI's clients ask for it

    The text goes to models that take one. Errors have OpenAI's shape.
    """
    number = wanted.num_return_sequences or 1
    if stream:
        parts = chat.Stream(question, wanted)
        return parts.response(_events(_chunks(parts, number, include_usage)), "text/event-stream")
    answer = chat.answer(question, wanted)
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": answer.text(index)},
            "finish_reason": _reason(answer, index),
        }
        for index in range(number)
    ]
    completion = _completion("chat.completion") | {"choices": choices, "usage": _usage(answer)}
    return completion | warning(*answer.warnings)


def _completion(kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": captioner.name,
    }


def _chunks(parts: chat.Stream, number: int, include_usage: bool) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed answer, from its parts. Choices but the first come at once."""
    chunk = _completion("chat.completion.chunk") | ({"usage": None} if include_usage else {})

    def choice(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return chunk | {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}

    yield choice(0, {"role": "assistant", "content": ""})
    for part in parts:
        if isinstance(part, str):
            yield choice(0, {"content": part})
        elif isinstance(part, Exception):
            yield reshape_error(HTTPStatus.SERVICE_UNAVAILABLE, chat.in_words(part), None)
        else:
            for index in range(1, number):
                yield choice(index, {"role": "assistant", "content": part.text(index)})
            for index in range(number):
                yield choice(index, {}, _reason(part, index)) | warning(*part.warnings)
            if include_usage:
                yield chunk | {"choices": [], "usage": _usage(part)}


def _events(messages: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Server-sent events (the HTML standard, section 9.2), and OpenAI's mark of the end."""
    for message in messages:
        yield f"data: {json.dumps(message)}\n\n"
    yield "data: [DONE]\n\n"


def _reason(answer: chat.Answer, index: int) -> str:
    return "length" if answer.is_cut(index) else "stop"


def _usage(answer: chat.Answer) -> dict[str, int]:
    prompt, completion = answer.prompt_tokens, answer.completion_tokens
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


@blp.route("/v1/models")
@blp.response(200, OpenAIModels)
@blp.errors(HTTPStatus.SERVICE_UNAVAILABLE)
def list_models() -> dict[str, Any]:
    """Name the one model, as OpenAI's clients ask for it"""
    return {"object": "list", "data": [_model()]}


@blp.route("/v1/models/<path:name>/", parameters=[chat.MODEL_NAME])
@blp.response(200, OpenAIModel)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def get_model(name: str) -> dict[str, Any]:
    """Say whether the one model has this name"""
    chat.check_name(name)
    return _model()


def _model() -> dict[str, Any]:
    return {"id": chat.model_name(), "object": "model", "created": 0, "owned_by": "flaskapp"}
