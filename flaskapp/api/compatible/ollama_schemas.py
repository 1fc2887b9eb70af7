"""Schemas of Ollama's requests and responses: generate, chat, and the endpoints about models."""

from collections.abc import Mapping, Sequence
from typing import Any

import marshmallow as ma
from marshmallow import post_load

from flaskapp.api.caption import SQUARE
from flaskapp.api.compatible import chat
from flaskapp.api.fields import Flag, NullIsUnset, Text
from flaskapp.api.image_fields import Base64Images
from flaskapp.captioner import captioner

VERSION = "0.12.0"  # of Ollama's API; some clients require a minimum
IMAGES = {"description": "Image files in base64", "examples": [[SQUARE]]}


# Members that are not supported, with the neutral value of each.
IGNORED: dict[str, Any] = {
    "format": "",
    "tools": [],
    "think": False,
    "logprobs": False,
    "top_logprobs": 0,
    "suffix": "",
    "system": "",
    "raw": False,
    "template": "",
    "context": [],
}
IGNORED_OPTIONS = {"repeat_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0, "min_p": 0, "mirostat": 0}


class OllamaRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    model = Text(load_default="", metadata=chat.ANY_MODEL)
    stream = Flag(load_default=True, metadata={"description": "Answer in lines of JSON", "examples": [False]})
    options = ma.fields.Nested(chat.Options, load_default=dict)


class GenerateRequest(OllamaRequest):
    prompt = Text(load_default="", metadata=chat.PROMPT)
    images = Base64Images(load_default=list, metadata=IMAGES)

    @post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Return the arguments of the view. Without prompt and images, `question` is None: it loads the model."""
        found = [chat.FoundImage(("images", index), text) for index, text in enumerate(data["images"])]
        return _arguments(data, original, bool(data["prompt"] or found), found, data["prompt"], "images")


class OllamaMessage(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    role = Text(required=True, metadata={"description": "The last text of `user` is the prompt", "examples": ["user"]})
    content = Text(load_default="", metadata=chat.PROMPT)
    images = Base64Images(load_default=list, metadata=IMAGES)


class ChatRequest(OllamaRequest):
    messages = ma.fields.List(ma.fields.Nested(OllamaMessage), load_default=list)

    @post_load(pass_original=True)
    def make(self, data: dict[str, Any], original: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """Return the arguments of the view, from the last message with images and the last text of the user."""
        found: list[chat.FoundImage] = []
        prompt = ""
        for index, message in enumerate(data["messages"]):
            path = ("messages", index, "images")
            found = [chat.FoundImage((*path, each), text) for each, text in enumerate(message["images"])] or found
            prompt = message["content"] if message["role"] == "user" and message["content"] else prompt
        return _arguments(data, original, bool(data["messages"]), found, prompt, "messages")


def _arguments(
    data: Mapping[str, Any],
    original: Mapping[str, Any],
    is_asked: bool,
    found: Sequence[chat.FoundImage],
    prompt: str,
    field: str,
) -> dict[str, Any]:
    options = dict(data["options"])
    stops = options.pop("stop", ())
    ignored_options = chat.ignored(original.get("options") or {}, IGNORED_OPTIONS)
    ignored = (*chat.ignored(original, IGNORED), *(f"options.{name}" for name in ignored_options))
    ignored += chat.ignored_messages(data.get("messages", ()))
    return {
        "question": chat.read_question(found, prompt, field, stops, ignored) if is_asked else None,
        "settings": chat.generation_settings(**options),
        "stream": data["stream"],
        "model": data["model"] or captioner.name,
    }


def _nanoseconds_of(what: str) -> ma.fields.Integer:
    return ma.fields.Integer(metadata={"description": f"Nanoseconds {what}", "examples": [58000000]})


def _tokens(what: str, example: int) -> ma.fields.Integer:
    return ma.fields.Integer(metadata={"description": f"Tokens {what}", "examples": [example]})


class OllamaAnswer(ma.Schema):
    model = ma.fields.String(required=True, metadata={"description": "The `model` of the request", "examples": ["any"]})
    created_at = ma.fields.String(required=True, metadata={"examples": ["2026-11-26T12:00:00.000000Z"]})
    done = ma.fields.Boolean(
        required=True, metadata={"description": "Whether this part is the last", "examples": [True]}
    )
    done_reason = ma.fields.String(metadata={"enum": ["stop", "length", "load"], "examples": ["stop"]})
    total_duration = _nanoseconds_of("of the whole request")
    load_duration = _nanoseconds_of("of loading the model")
    prompt_eval_count = _tokens("of text given to the model", 1)
    prompt_eval_duration = _nanoseconds_of("of decoding the images")
    eval_count = _tokens("generated", 9)
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
    """Only the format is known."""

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
    version = ma.fields.String(required=True, metadata={"description": "Of Ollama's API", "examples": [VERSION]})


class ShowRequest(NullIsUnset):
    class Meta:
        unknown = ma.EXCLUDE

    model = Text(metadata=chat.MODEL)
    name = Text(metadata={"description": "Older clients' `model`; one of both is required", "examples": ["embedded"]})

    @ma.validates_schema
    def _check_name(self, data: dict[str, Any], **_: Any) -> None:
        if not (data.get("model") or data.get("name")):
            raise ma.ValidationError("Missing data for required field.", "model")


class OllamaModel(ma.Schema):
    details = ma.fields.Nested(OllamaDetails, required=True)
    model_info = ma.fields.Dict(required=True, metadata={"examples": [{"general.name": "embedded"}]})
    capabilities = ma.fields.List(ma.fields.String(metadata={"examples": ["vision"]}), required=True)


class OllamaError(ma.Schema):
    error = ma.fields.String(required=True, metadata=chat.ERROR)
