"""Hooks for rules that JSON Schema cannot express in the OpenAPI document."""

import base64
from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext
from schemathesis.core.parameters import ParameterLocation

from tests.fuzz.samples import samples

POSITIONS = 64  # of the embedded model; the document has the maximum of any model

LOGIN = {"username": "ada", "password": "correct horse"}

# A file of the format "binary" is a readable image. `tests.fuzz.images` sends broken ones.
schemathesis.openapi.format("binary", st.sampled_from(sorted(samples().values())))
schemathesis.openapi.format(
    "byte", st.sampled_from([base64.b64encode(each).decode() for each in sorted(samples().values())])
)


SQUARE = base64.b64encode(min(samples().values(), key=len)).decode()


def _add_image_to_chat(body: dict[str, Any]) -> None:
    """Give the last message an image and the others text: the document cannot describe parts by type."""
    for message in body.get("messages") or []:
        message["content"] = "What is this?"
    for message in (body.get("messages") or [])[-1:]:
        message["content"] = [{"type": "image_url", "image_url": {"url": SQUARE}}]


def _add_image_to_ollama_chat(body: dict[str, Any]) -> None:
    """Give the last message an image."""
    for message in (body.get("messages") or [])[-1:]:
        message["images"] = [SQUARE]


def _add_image_to_prompt(body: dict[str, Any]) -> None:
    """Add an image if there is a prompt."""
    if body.get("prompt"):
        body["images"] = [SQUARE]


def _add_image_to_tensors(body: dict[str, Any]) -> None:
    """Give each tensor one image with its shape, and no binary data after the JSON."""
    _reconcile(body.get("parameters"))
    for tensor in body.get("inputs") or []:
        tensor |= {"data": [SQUARE], "shape": [1], "parameters": {}}


def _name_model(body: dict[str, Any]) -> None:
    """Name the model if neither of its two members does."""
    if not (body.get("model") or body.get("name")):
        body["model"] = "embedded"


COMPLETIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "/v1/chat/completions": _add_image_to_chat,
    "/api/generate": _add_image_to_prompt,
    "/api/chat": _add_image_to_ollama_chat,
    "/api/show": _name_model,
    "/v2/models/{name}/infer/": _add_image_to_tensors,
}


@schemathesis.hook
def map_case(_context: HookContext, case: Case) -> Case:
    """Make a positive case consistent: values that are valid one by one must be valid together."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    if case.path == "/login/" and not isinstance(case.body, dict):
        case.query = dict(LOGIN)  # without a body the query needs both fields
    body = case.body if isinstance(case.body, dict) else {}
    parameters = body.get("parameters") or {}
    _clear_prompt(body)
    _reconcile(body.get("config"))
    _reconcile(parameters, *(parameters.get(name) for name in ("generation_parameters", "generate_kwargs")))
    if case.path == "/image-to-text":
        _reconcile(case.query)
    if case.path in COMPLETIONS:
        COMPLETIONS[case.path](body)
    return case


@schemathesis.hook
def filter_case(_context: HookContext, case: Case) -> bool:
    """Drop negative cases that the server would accept.

    An empty `config` counts as absent. The run adds its own login to cases without one; another check, with its own
    requests, covers missing logins.
    """
    if case.meta is None or case.meta.generation.mode.is_positive:
        return True
    if isinstance(case.body, dict) and "config" in case.body and not str(case.body["config"] or "").strip():
        return False
    header = case.meta.components.get(ParameterLocation.HEADER)
    needs_login = "Authorization" in {parameter.name for parameter in case.operation.headers}
    return header is None or header.mode.is_positive or not needs_login or "Authorization" in (case.headers or {})


def _reconcile(*configs: Any) -> None:
    """Limit settings in place to what the model and the other settings allow. Later mappings take precedence.

    A replaced body would be classified again, and bytes are no JSON.
    """
    found = [config for config in configs if isinstance(config, dict)]
    settings = {name: int(value) for config in found for name, value in config.items() if _is_whole(value)}
    tokens = 15
    for config in found:  # a later length replaces an earlier one
        if _is_whole(config.get("max_new_tokens")):
            tokens = int(config["max_new_tokens"])
        elif _is_whole(config.get("max_length")):
            tokens = int(config["max_length"]) - 1
    bounds = {
        "max_length": POSITIONS,
        "max_new_tokens": POSITIONS - 1,
        "min_length": min(tokens + 1, POSITIONS),
        "num_return_sequences": settings.get("num_beams", 8),
    }
    draws = any(config.get("do_sample") in (True, "true") for config in found)
    for config in found:
        _clear_prompt(config)
        for name in ("temperature", "top_p"):
            if draws and config.get(name) is not None:
                config[name] = type(config[name])(max(float(config[name]), 0.01))
        for name in bounds.keys() & config.keys():
            if _is_whole(config[name]):
                config[name] = type(config[name])(min(int(config[name]), bounds[name]))


def _clear_prompt(settings: Any) -> None:
    """Clear the prompt: the embedded model takes no text."""
    if isinstance(settings, dict) and isinstance(settings.get("prompt"), str):
        settings["prompt"] = ""


def _is_whole(value: Any) -> bool:
    """Return whether a value is an integer: also 16.0 and, in an encoded query, "16"."""
    return (isinstance(value, int | float) and value == int(value)) or (isinstance(value, str) and value.isdecimal())
