"""The APIs of other servers, for the clients that people have: each module is one API, on this server's captioner.

References are named in each module. What an API has beyond captions of images is not here.
"""

from flask import Flask, Response, request

from flaskapp.api import probes
from flaskapp.api.compatible import ollama, open_inference, openai, photoprism
from flaskapp.api.compatible.open_inference import ModelName as ModelName

RESOURCES = (openai, ollama, open_inference, photoprism)

# The API that a client of an unknown address means: the first of these that its path begins with.
OWNERS = {"/v1/": openai.blp, "/api/v1/": photoprism.blp, "/api/": ollama.blp, "/v2/": open_inference.blp}


def init_app(app: Flask) -> None:
    """Answer unknown addresses and wrong methods in the shape of the API that they belong to."""
    ours = {
        rule.rule.strip("/") for rule in app.url_map.iter_rules() if rule.endpoint.startswith(f"{probes.blp.name}.")
    }

    @app.after_request
    def reshape_error(response: Response) -> Response:
        is_unknown = request.url_rule is None  # and so no blueprint of an API has seen it
        if is_unknown and request.path.strip("/") not in ours:
            for prefix, blp in OWNERS.items():
                if f"{request.path}/".startswith(prefix):
                    return blp.reshape_error(response)
        return response
