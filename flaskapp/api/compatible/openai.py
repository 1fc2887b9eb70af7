"""OpenAI's chat completions and models, for its SDKs and the programs that use them.

Reference: OpenAI's API reference, "Chat Completions" and "Models". Other members of requests are ignored. `warning`
names those that change an answer of OpenAI's.
"""

import json
import time
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from flask import Response

from flaskapp.api import image_quota
from flaskapp.api.compatible import chat
from flaskapp.api.compatible.blueprint import EVENT, CompatibleBlueprint
from flaskapp.api.compatible.openai_schemas import (
    EXAMPLE,
    ChatCompletion,
    ChatCompletionRequest,
    OpenAIError,
    OpenAIModel,
    OpenAIModels,
)
from flaskapp.api.compatible.streaming import Stream, error_text
from flaskapp.api.describe import warning
from flaskapp.captioner import GenerationSettings, captioner

EVENTS = "text/event-stream"
TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
CODES = {HTTPStatus.UNAUTHORIZED: "invalid_api_key", HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded"}


def reshape_error(status: HTTPStatus, message: str, param: str | None) -> dict[str, Any]:
    """Return the body of an error in OpenAI's shape."""
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
@blp.json_body(ChatCompletionRequest, example=EXAMPLE)
@blp.answers_also(EVENTS, EVENT)
@blp.response(200, ChatCompletion, headers=image_quota.HEADERS)
@blp.errors(*chat.ERRORS, messages=chat.MESSAGES)
def create_chat_completion(
    question: chat.Question, settings: GenerationSettings, stream: bool, include_usage: bool
) -> dict[str, Any] | Response:
    """Describe images in words, for OpenAI's clients

    Models that take text get the prompt. Errors have OpenAI's shape.
    """
    number = settings.num_return_sequences or 1
    if stream:
        parts = Stream(question, settings)
        return parts.response(_events(_chunks(parts, number, include_usage)), EVENTS)
    answer = chat.answer_question(question, settings)
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


def _chunks(parts: Stream, number: int, include_usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a streamed answer. All choices except the first one are sent whole, at the end."""
    chunk = _completion("chat.completion.chunk") | ({"usage": None} if include_usage else {})

    def choice(index: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return chunk | {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}

    yield choice(0, {"role": "assistant", "content": ""})
    for part in parts:
        if isinstance(part, str):
            yield choice(0, {"content": part})
        elif isinstance(part, Exception):
            yield reshape_error(HTTPStatus.SERVICE_UNAVAILABLE, error_text(part), None)
        else:
            for index in range(1, number):
                yield choice(index, {"role": "assistant", "content": part.text(index)})
            for index in range(number):
                yield choice(index, {}, _reason(part, index)) | warning(*part.warnings)
            if include_usage:
                yield chunk | {"choices": [], "usage": _usage(part)}


def _events(messages: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield server-sent events (HTML standard, section 9.2), and OpenAI's end marker."""
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
@blp.errors(HTTPStatus.SERVICE_UNAVAILABLE, messages=chat.METADATA_MESSAGES)
def list_models() -> dict[str, Any]:
    """List the model, for OpenAI's clients"""
    return {"object": "list", "data": [_model()]}


@blp.route("/v1/models/<path:name>/", parameters=[chat.MODEL_NAME])
@blp.response(200, OpenAIModel)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE, messages=chat.METADATA_MESSAGES)
def get_model(name: str) -> dict[str, Any]:
    """Return the model, if it has this name"""
    chat.check_name(name)
    return _model()


def _model() -> dict[str, Any]:
    return {"id": chat.model_name(), "object": "model", "created": 0, "owned_by": "flaskapp"}
