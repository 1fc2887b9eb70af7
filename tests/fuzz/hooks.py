"""What Schemathesis cannot know from the OpenAPI document, because JSON Schema has no words for it."""

import base64
from typing import Any

import schemathesis
from hypothesis import strategies as st
from schemathesis import Case, HookContext

from tests.fuzz.samples import samples

POSITIONS = 64  # of the embedded model: the tokens that it can count to; the document has the most of any model

LOGIN = {"username": "ada", "password": "correct horse"}

# A file of the format "binary" is an image of a format that is read; `tests.fuzz.images` sends the broken ones.
schemathesis.openapi.format("binary", st.sampled_from(sorted(samples().values())))
schemathesis.openapi.format(
    "byte", st.sampled_from([base64.b64encode(each).decode() for each in sorted(samples().values())])
)


@schemathesis.hook
def map_case(_context: HookContext, case: Case) -> Case:
    """A case that is meant to be accepted: what is allowed one by one must be so together too."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return case
    if case.path == "/login/" and not isinstance(case.body, dict):
        case.query = dict(LOGIN)  # where there is no body, both come in the query
    body = case.body if isinstance(case.body, dict) else {}
    for config in (body.get("config"), body.get("parameters"), case.query if "image" in case.path else None):
        if isinstance(config, dict):
            config.update(_coherent(config))  # in its place: a new body would be judged anew, and bytes are no JSON
    return case


def _coherent(config: dict[str, Any]) -> dict[str, Any]:
    max_length = min(config.get("max_length", 16), POSITIONS)
    beams = config.get("num_beams", 8)
    bounds = {"max_length": max_length, "min_length": max_length, "num_return_sequences": beams}
    return {name: min(config[name], bound) for name, bound in bounds.items() if name in config}
