"""Unknown paths and wrong methods below an API's path are errors in its shape, which its clients can show."""

from typing import Any

import ollama
import openai
import pytest
from flask.testing import FlaskClient

from tests.api.compatible.test_ollama import ollama_client
from tests.api.compatible.test_openai import openai_client
from tests.conftest import assert_error

__all__ = ["ollama_client", "openai_client"]  # fixtures

NOTHING = "there is nothing at this address"


def openai_error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}


SHAPES: list[tuple[str, str, int, dict[str, Any]]] = [
    ("get", "/v1", 404, openai_error(NOTHING)),
    ("post", "/v1/embeddings", 404, openai_error(NOTHING)),
    ("get", "/v1//models", 404, openai_error(NOTHING)),
    ("get", "/v1/chat/completions", 405, openai_error("this address takes POST")),
    ("post", "/v1/models/", 405, openai_error("this address takes GET and HEAD")),
    ("post", "/api/embed", 404, {"error": NOTHING}),
    ("get", "/api/chat", 405, {"error": "this address takes POST"}),
    ("post", "/api/v1/vision/labels", 404, {"code": 404, "error": NOTHING}),
    ("get", "/api/v1/vision/caption", 405, {"code": 405, "error": "this address takes POST"}),
    ("get", "/v2/repository/index", 404, {"error": NOTHING}),
    ("get", "/v2/health/started", 404, {"error": NOTHING}),
    ("get", "/v2/models/embedded/infer", 405, {"error": "this address takes POST"}),
]


@pytest.mark.parametrize(("method", "path", "status", "body"), SHAPES)
def test_an_error_has_the_shape_of_its_api(
    client: FlaskClient, method: str, path: str, status: int, body: dict[str, Any]
) -> None:
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.get_json()) == (status, body)
    assert ("Allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready/"])
def test_a_probe_answers_in_flaskapp_s_shape(client: FlaskClient, path: str) -> None:
    assert client.get(path).get_json()["message"]  # OK, or that the model is being loaded
    assert_error(client.post(path), 405)


@pytest.mark.parametrize("path", ["/v1x", "/apis/chat", "/v22", "/v3/models", "/caption/v1/models", "//v1/models"])
def test_a_similar_path_answers_in_flaskapp_s_shape(client: FlaskClient, path: str) -> None:
    assert_error(client.get(path), 404)


def test_a_prefix_does_not_change_the_shape(client: FlaskClient) -> None:
    answer = client.get("/v1/nothing", environ_overrides={"SCRIPT_NAME": "/captions"})
    assert answer.get_json() == openai_error(NOTHING)


def test_openai_s_client_shows_the_error(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=NOTHING) as caught:
        openai_client.embeddings.create(model="any", input="text")
    assert caught.value.type == "invalid_request_error"


def test_ollama_s_client_shows_the_error(ollama_client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match=NOTHING):
        ollama_client.embed("any", "text")
