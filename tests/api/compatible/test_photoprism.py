"""PhotoPrism's Vision API, with the bodies that PhotoPrism sends."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.compatible.images import CIRCLE_AND_DIAMOND, STAR, data_url

ID = "3487da77-246e-4b4d-9437-67ef7bf61267"


def post(client: FlaskClient, **body: Any) -> TestResponse:
    return client.post("/api/v1/vision/caption", json=body)


def test_an_image_gets_its_caption(client: FlaskClient) -> None:
    answer = post(
        client, id=ID, model="vit-gpt2", version="latest", images=[data_url("star.png")], suffix=""
    ).get_json()
    assert answer["model"].pop("version")
    assert answer == {"id": ID, "code": 200, "model": {"name": "embedded"}, "result": {"caption": {"text": STAR}}}


def test_a_prompt_and_options_are_accepted(client: FlaskClient) -> None:
    options = {"num_predict": 200, "temperature": 0, "top_p": 0.9, "num_ctx": 4096}
    answer = post(client, id=ID, prompt="Describe it.", options=options, stream=False, images=[data_url("star.png")])
    assert answer.get_json()["result"]["caption"]["text"] == STAR
    assert answer.get_json()["warning"] == "the model takes no text: the prompt was ignored"


def test_several_images_get_a_line_each(client: FlaskClient) -> None:
    answer = post(client, images=[data_url("star.png"), data_url("circle_and_diamond.png")]).get_json()
    assert answer["result"]["caption"]["text"] == f"{STAR}\n{CIRCLE_AND_DIAMOND}"
    assert answer["id"] == ""


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "images: Missing data"),
        ({"images": []}, "images: There is no image in it"),
        ({"images": ["https://photos.example/thumb.jpg"]}, "images.0: Send the image itself"),
        ({"images": [data_url("star.png")[:500]]}, "images.0: "),
        ({"images": [7]}, "images.0: Not a valid string"),
    ],
)
def test_errors_have_photoprism_s_shape(client: FlaskClient, body: dict[str, Any], sentence: str) -> None:
    answer = post(client, **body)
    assert answer.status_code == 400
    assert answer.get_json().keys() == {"code", "error"}
    assert answer.get_json()["code"] == 400
    assert answer.get_json()["error"].startswith(sentence)
