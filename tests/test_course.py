"""The course's exercises with `requests`, against the live server."""

import json
from typing import Any

import pytest
import requests

from flaskapp.images import EncodedImage
from tests.conftest import ASSETS, Server

STAR = ASSETS / "star.png"
EMAIL = {"email": "mlops@gmail.com", "domain_match": "gmail"}


@pytest.mark.parametrize(
    ("path", "params", "answer"),
    [
        ("/", {}, {"message": "OK", "status-code": 200}),
        ("/items/5", {}, {"item_id": 5}),
        ("/items/5", {"q": "tea"}, {"item_id": 5, "q": "tea"}),
        ("/restric_items/lenet", {}, {"item_id": "lenet"}),
        ("/query_items", {"item_id": 5}, {"item_id": 5}),
        (
            "/text_model/",
            {"data": "mlops@gmail.com"},
            {"input": "mlops@gmail.com", "message": "OK", "status-code": 200, "is_email": True},
        ),
    ],
)
def test_get(server: Server, path: str, params: dict[str, Any], answer: dict[str, Any]) -> None:
    response = requests.get(server.url + path, params=params, timeout=30)
    assert response.status_code == 200
    assert response.json() == answer


@pytest.mark.parametrize("way", ["params", "data", "json"])
def test_post_a_login(server: Server, way: str) -> None:
    login: dict[str, Any] = {way: {"username": f"by {way}", "password": "secret"}}
    assert requests.post(server.url + "/login/", timeout=30, **login).json() == "login saved"


def test_post_an_email(server: Server) -> None:
    answer = requests.post(server.url + "/text_model/", json=EMAIL, timeout=30).json()
    assert answer["is_email"]
    assert answer["is_domain_match"]


def test_post_an_image_to_resize(server: Server) -> None:
    with STAR.open("rb") as file:
        response = requests.post(server.url + "/cv_model/", files={"data": file}, params={"h": 20, "w": 30}, timeout=60)
    assert response.headers["Content-Disposition"] == "attachment; filename=image_resize.png"
    assert EncodedImage(response.content, max_megapixels=1).decode().pixels.shape[:2] == (20, 30)


def test_post_images_to_caption(server: Server) -> None:
    config = {"max_length": 16, "num_beams": 8, "num_return_sequences": 1}
    with STAR.open("rb") as first, STAR.open("rb") as second:
        response = requests.post(
            server.url + "/caption/",
            files=[("data", first), ("data", second)],
            data={"config": json.dumps(config)},
            timeout=60,
        )
    results = [{"input": "star.png", "captions": ["a large pink star on a yellow background"]}] * 2
    assert response.json()["results"] == results
