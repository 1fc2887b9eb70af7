"""What Schemathesis cannot know from the OpenAPI document, because JSON Schema has no words for it."""

import base64
from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext
from schemathesis.core.parameters import ParameterLocation

from tests.fuzz.samples import samples

POSITIONS = 64  # of the embedded model: the tokens that it can count to; the document has the most of any model

LOGIN = {"username": "ada", "password": "correct horse"}

# A file of the format "binary" is an image of a format that is read; `tests.fuzz.images` sends the broken ones.
schemathesis.openapi.format("binary", st.sampled_from(sorted(samples().values())))
schemathesis.openapi.format(
    "byte", st.sampled_from([base64.b64encode(each).decode() for each in sorted(samples().values())])
)


SQUARE = base64.b64encode(min(samples().values(), key=len)).decode()


def _show_in_chat(body: dict[str, Any]) -> None:
    """Give the last message an image, and the others a text: the document cannot say what a part of each type has."""
    for message in body.get("messages") or []:
        message["content"] = "What is this?"
    for message in (body.get("messages") or [])[-1:]:
        message["content"] = [{"type": "image_url", "image_url": {"url": SQUARE}}]


def _show_in_ollama_chat(body: dict[str, Any]) -> None:
    """An image, if anything is asked."""
    for message in (body.get("messages") or [])[-1:]:
        message["images"] = [SQUARE]


def _show_if_asked(body: dict[str, Any]) -> None:
    """An image, if there is a prompt."""
    if body.get("prompt"):
        body["images"] = [SQUARE]


def _show_in_tensor(body: dict[str, Any]) -> None:
    """One image, and a shape that says so; no bytes behind the JSON."""
    _reconcile(body.get("parameters"))
    for tensor in body.get("inputs") or []:
        tensor |= {"data": [SQUARE], "shape": [1], "parameters": {}}


IMAGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "/v1/chat/completions": _show_in_chat,
    "/api/generate": _show_if_asked,
    "/api/chat": _show_in_ollama_chat,
    "/v2/models/{name}/infer/": _show_in_tensor,
}


@schemathesis.hook
def map_case(_context: HookContext, case: Case) -> Case:
    """A case that is meant to be accepted: what is allowed one by one must be so together too."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    if case.path == "/login/" and not isinstance(case.body, dict):
        case.query = dict(LOGIN)  # where there is no body, both come in the query
    body = case.body if isinstance(case.body, dict) else {}
    parameters = body.get("parameters") or {}
    _clear_prompt(body)
    _reconcile(body.get("config"))
    _reconcile(parameters, *(parameters.get(name) for name in ("generation_parameters", "generate_kwargs")))
    if case.path == "/image-to-text":
        _reconcile(case.query)
    if case.path in IMAGES:
        IMAGES[case.path](body)
    return case


@schemathesis.hook
def filter_case(_context: HookContext, case: Case) -> bool:
    """Not a case that is meant to be refused, but would be accepted: an empty `config` is none.

    Nor one for want of a login: the run's own is put in. That a login is asked for is another check, with requests of
    its own.
    """
    if case.meta is None or case.meta.generation.mode.is_positive:
        return True
    if isinstance(case.body, dict) and "config" in case.body and not str(case.body["config"] or "").strip():
        return False
    header = case.meta.components.get(ParameterLocation.HEADER)
    needs_login = "Authorization" in {parameter.name for parameter in case.operation.headers}
    return header is None or header.mode.is_positive or not needs_login or "Authorization" in (case.headers or {})


def _reconcile(*configs: Any) -> None:
    """Bring settings within what each other and the model allow, a later mapping of them going before one before it.

    In their place: a new body would be judged anew, and bytes are no JSON.
    """
    found = [config for config in configs if isinstance(config, dict)]
    settings = {name: int(value) for config in found for name, value in config.items() if _is_whole(value)}
    tokens = 15
    for config in found:  # the length of a later one replaces that of one before it
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
    """The embedded model takes no text, but the empty one."""
    if isinstance(settings, dict) and isinstance(settings.get("prompt"), str):
        settings["prompt"] = ""


def _is_whole(value: Any) -> bool:
    """Also 16.0, and in a query, which may have been written as text already, "16"."""
    return (isinstance(value, int | float) and value == int(value)) or (isinstance(value, str) and value.isdecimal())
