"""The APIs of other servers, so that their clients work with this captioner: one module for each API.

Each module names its reference, and has only the part of the API that captions images.
"""

from http import HTTPStatus
from typing import Any

from flask import request

from flaskapp.api.compatible import ollama, open_inference, openai, photoprism
from flaskapp.api.compatible.open_inference import ModelName as ModelName

RESOURCES = (openai, ollama, open_inference, photoprism)

# The API of an unknown address, by the first of these prefixes that its path has.
BLUEPRINTS = {"/v1/": openai.blp, "/api/v1/": photoprism.blp, "/api/": ollama.blp, "/v2/": open_inference.blp}
PROBES = "/v2/health/"  # in `probes`, with errors of this server's own shape


def shape_unknown(payload: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an error. For an unknown address or a wrong method, use the shape of the API by the path.

    All other errors already have the shape of their blueprint.
    """
    is_probe = payload["code"] == HTTPStatus.METHOD_NOT_ALLOWED and request.path.startswith(PROBES)
    if request.url_rule is not None or is_probe:
        return payload
    found = (blp for prefix, blp in BLUEPRINTS.items() if f"{request.path}/".startswith(prefix))
    blp = next(found, None)
    return blp.shape_error(payload) if blp else payload
