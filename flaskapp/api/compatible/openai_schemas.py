"""Schemas of OpenAI's requests and responses: chat completions, models and errors."""

from collections.abc import Mapping
from typing import Any

import marshmallow as ma
from marshmallow import ValidationError, post_load, validate

from flaskapp.api.caption import SQUARE
from flaskapp.api.compatible import chat
from flaskapp.api.compatible.stop import StopSequences
from flaskapp.api.fields import Flag, NullIsUnset, Text, WholeNumber
from flaskapp.captioner.generation import MAX_BEAMS

CONTENT = [
    {"type": "text", "text": "Describe this image."},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{SQUARE}"}},
]
TEXT = Text()
EXAMPLE = {"model": "any", "messages": [{"role": "user", "content": CONTENT}]}


# Members that are not supported, with the neutral value of each.
IGNORED: dict[str, Any] = {
    "response_format": {"type": "text"},
    "tools": [],
    "tool_choice": "none",
    "web_search_options": {},
    "reasoning_effort": "none",
    "functions": [],
    "logprobs": False,
    "top_logprobs": 0,
    "logit_bias": {},
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "modalities": ["text"],
    "audio": {},
}


class Content(ma.fields.Field[list[dict[str, Any]]]):
    """The parts of a message. A string is one part of text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[dict[str, Any]]:
        if isinstance(value, str):
            return [{"type": "text", "text": TEXT.deserialize(value)}]
        if not isinstance(value, list):
            raise ValidationError("Neither a string nor a list of parts.")
        for index, part in enumerate(value):
            if not isinstance(part, dict):
                raise ValidationError({index: ["Not an object."]})
        return value


class ChatMessage(ma.Schema):
    class Meta:
        unknown = ma.EXCLUDE

    role = Text(required=True, metadata={"description": "The last text of `user` is the prompt", "examples": ["user"]})
    content = Content(
        load_default=list,
        allow_none=True,
        metadata={
            "description": "A text, or parts of type `text` and `image_url`. The last message with images counts. "
            "Its `url`s are data URLs, or URLs of hosts that this server fetches from",
            "examples": [CONTENT],
        },
    )


class StreamOptions(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    include_usage = Flag(load_default=False, metadata={"description": "Send `usage` at the end", "examples": [True]})


class ChatCompletionRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    model = Text(load_default="", metadata=chat.ANY_MODEL)
    messages = ma.fields.List(ma.fields.Nested(ChatMessage), required=True, validate=validate.Length(min=1))
    max_tokens = chat.length("Most tokens of the answer")
    max_completion_tokens = chat.length("The same as `max_tokens`, and takes precedence")
    n = WholeNumber(
        load_default=1,
        validate=validate.Range(1, MAX_BEAMS),
        metadata={"description": "Number of answers", "examples": [1]},
    )
    temperature = chat.number(0, 100, "Above 0: sample tokens at random. Absent: the model's default search", 0)
    top_p = chat.number(0, 1, "Sample from the likeliest tokens whose probabilities sum to this", 1)
    seed = chat.seed()
    stop = StopSequences(load_default=(), metadata=chat.STOP)
    stream = Flag(load_default=False, metadata={"description": "Answer by server-sent events", "examples": [False]})
    stream_options = ma.fields.Nested(StreamOptions, load_default=dict)

    @post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Return the arguments of the view."""
        images, prompt = _found(data["messages"])
        ignored = chat.ignored(original, IGNORED) + chat.ignored_messages(data["messages"])
        question = chat.read_question(images, prompt, "messages", data.pop("stop"), ignored)
        older, newer = data.pop("max_tokens", None), data.pop("max_completion_tokens", None)
        settings = chat.generation_settings(
            num_predict=older if newer is None else newer,
            num_return_sequences=data.pop("n"),
            **{name: data.pop(name, None) for name in ("temperature", "top_p", "seed")},
        )
        return {
            "question": question,
            "settings": settings,
            "stream": data["stream"],
            "include_usage": bool(data["stream_options"].get("include_usage")),
        }


def _found(messages: list[dict[str, Any]]) -> tuple[list[chat.FoundImage], str]:
    """Return the images of the last message with images, and the last text of the user."""
    images: list[chat.FoundImage] = []
    prompt = ""
    for index, message in enumerate(messages):
        found, text = _parts(message["content"] or [], ("messages", index, "content"))
        images = found or images
        if message["role"] == "user" and text:
            prompt = text
    return images, prompt


def _parts(content: list[dict[str, Any]], path: chat.Path) -> tuple[list[chat.FoundImage], str]:
    """Return the images and the text of a message. Raise ValidationError for parts of other types."""
    images, texts = [], []
    for index, part in enumerate(content):
        kind = part.get("type")
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(_text(part["text"], (*path, index, "text")))
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), (*path, index, "image_url")))
        else:
            raise ValidationError(chat.nested((*path, index), "Neither a text nor an image_url."))
    return images, "\n".join(texts).strip()


def _text(value: str, path: chat.Path) -> str:
    try:
        return str(TEXT.deserialize(value))
    except ValidationError as error:
        raise ValidationError(chat.nested(path, *error.messages)) from error


def _image(value: Any, path: chat.Path) -> chat.FoundImage:
    """Read `image_url`: an object with a `url`, or the URL alone, which some clients send."""
    if isinstance(value, dict):
        value, path = value.get("url"), (*path, "url")
    if not isinstance(value, str):
        raise ValidationError(chat.nested(path, "Not a string."))
    return chat.FoundImage(path, value)


class CompletionMessage(ma.Schema):
    role = ma.fields.String(required=True, metadata={"examples": ["assistant"]})
    content = ma.fields.String(required=True, metadata=chat.TEXT)


class CompletionChoice(ma.Schema):
    index = ma.fields.Integer(required=True, metadata={"examples": [0]})
    message = ma.fields.Nested(CompletionMessage, required=True)
    finish_reason = ma.fields.String(required=True, metadata={"enum": ["stop", "length"], "examples": ["stop"]})


class CompletionUsage(ma.Schema):
    prompt_tokens = ma.fields.Integer(
        required=True, metadata={"description": "Tokens of text only; images have none", "examples": [1]}
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
        required=True,
        allow_none=True,
        metadata={"description": "Invalid field", "examples": ["messages.0.content"]},
    )
    code = ma.fields.String(required=True, allow_none=True, metadata={"examples": [None]})


class OpenAIError(ma.Schema):
    error = ma.fields.Nested(OpenAIErrorDetails, required=True)
