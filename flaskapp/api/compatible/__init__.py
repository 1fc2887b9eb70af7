"""The APIs of other servers, for the clients that people have: each module is one API, on this server's captioner.

References are named in each module. What an API has beyond captions of images is not here.
"""

from http import HTTPStatus
from typing import Any

from flask import request

from flaskapp.api.compatible import ollama, open_inference, openai, photoprism
from flaskapp.api.compatible.open_inference import ModelName as ModelName

RESOURCES = (openai, ollama, open_inference, photoprism)

# The API of an unknown address: the first of these that its path begins with.
OWNERS = {"/v1/": openai.blp, "/api/v1/": photoprism.blp, "/api/": ollama.blp, "/v2/": open_inference.blp}
PROBES = "/v2/health/"  # `probes` has them, and answers in our shape


def shape_unknown(payload: dict[str, Any]) -> dict[str, Any]:
    """An error, if of an unknown address or a wrong method in the shape of the API that it belongs to.

    The blueprints of the APIs shape all other errors.
    """
    is_probe = payload["code"] == HTTPStatus.METHOD_NOT_ALLOWED and request.path.startswith(PROBES)
    if request.url_rule is not None or is_probe:
        return payload
    owners = (blp for prefix, blp in OWNERS.items() if f"{request.path}/".startswith(prefix))
    owner = next(owners, None)
    return owner.shape_error(payload) if owner else payload
