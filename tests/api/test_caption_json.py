"""`/caption/` with a JSON body, and `partial`, which captions the readable files of a request."""

import base64
import io
import json
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.test_caption import CIRCLE_AND_DIAMOND, STAR, asset
from tests.conftest import ASSETS, Server, assert_error

NO_IMAGE = "this is not an image that can be read here: send JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
TRUNCATED = (ASSETS / "star.png").read_bytes()[:400]


def text(file: str | bytes) -> str:
    return base64.b64encode((ASSETS / file).read_bytes() if isinstance(file, str) else file).decode()


def post(client: FlaskClient, **body: Any) -> TestResponse:
    return client.post("/caption/", json=body)


def test_json_holds_images_as_base64_or_data_urls(client: FlaskClient) -> None:
    assert post(client, data=text("star.png")).get_json() == {
        "message": "OK", "status-code": 200, "model": "embedded", "caption": STAR,
        "results": [{"input": "", "captions": [STAR]}],
    }  # fmt: skip
    url = f"data:image/png;base64,{text('circle_and_diamond.png')}"
    several = post(client, data=[url, text("star.png").rstrip("=")]).get_json()
    assert [result["captions"] for result in several["results"]] == [[CIRCLE_AND_DIAMOND], [STAR]]


def test_config_is_an_object_and_null_means_unset(client: FlaskClient) -> None:
    config = {"num_beams": 4, "num_return_sequences": 2, "seed": None}
    answer = post(client, data=text("star.png"), config=config, prompt=None, partial=None).get_json()
    assert len(answer["results"][0]["captions"]) == 2
    assert post(client, data=text("star.png"), config=None).get_json()["caption"] == STAR


def test_an_image_of_megabytes_in_json_is_accepted(server: Server) -> None:
    noise = (ASSETS / "star.png").read_bytes() + bytes(5_000_000)  # decoders ignore bytes after the end of a PNG
    answer = requests.post(server.url + "/caption/", json={"data": text(noise)}, timeout=60)
    assert answer.json()["caption"] == STAR


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({}, 422, ["data"]),
        ({"data": []}, 422, ["data"]),
        ({"data": 5}, 422, ["data"]),
        ({"data": {}}, 422, ["data"]),
        ({"data": [5]}, 422, ["data", "0"]),
        ({"data": ["http://127.0.0.1/cat.jpg"]}, 422, ["data", "0"]),
        ({"data": [text("star.png"), "???"]}, 422, ["data", "1"]),
        ({"data": [text("star.png"), text(TRUNCATED)]}, 422, ["data", "1"]),
        ({"data": text(b"no image")}, 415, []),
        ({"data": [text("star.png")] * 33}, 422, ["data"]),
        ({"data": text("star.png"), "config": {"num_beams": 0}}, 422, ["config", "num_beams"]),
        ({"data": text("star.png"), "config": {"beams": 1}}, 422, ["config", "beams"]),
        ({"data": text("star.png"), "config": 5}, 422, ["config"]),
        ({"data": text("star.png"), "config": []}, 422, ["config"]),
        ({"data": text("star.png"), "config": {"max_new_tokens": 64}}, 422, ["config", "max_new_tokens"]),
        ({"data": text("star.png"), "prompt": 5}, 422, ["prompt"]),
        ({"data": text("star.png"), "prompt": "a photograph of"}, 422, ["prompt"]),
        ({"data": text("star.png"), "partial": "perhaps"}, 422, ["partial"]),
        ({"data": text("star.png"), "image": "x"}, 422, ["image"]),
    ],
)
def test_an_invalid_body_is_refused_and_the_field_named(
    client: FlaskClient, body: dict[str, Any], status: int, where: list[str]
) -> None:
    assert_error(post(client, **body), status, *(["json", *where] if where else []))


@pytest.mark.parametrize(("body", "status"), [("[]", 422), ("5", 422), ("{", 400), ("", 400), ('{"data": NaN}', 400)])
def test_json_that_is_no_object_is_refused(client: FlaskClient, body: str, status: int) -> None:
    assert_error(client.post("/caption/", data=body, content_type="application/json"), status)


def test_without_partial_one_bad_file_fails_the_request(client: FlaskClient) -> None:
    data = [asset("star.png"), (io.BytesIO(TRUNCATED), "cut.png")]
    assert_error(client.post("/caption/", data={"data": data, "partial": "false"}), 422, "multipart", "data", "1")


def test_with_partial_a_bad_file_fails_alone(client: FlaskClient) -> None:
    bad = {"empty.png": b"", "notes.txt": b"no image", "cut.png": TRUNCATED, "broken.gif": b"GIF89a\0"}
    data = [
        asset("circle_and_diamond.png"),
        *((io.BytesIO(file), name) for name, file in bad.items()),
        asset("star.png"),
    ]
    config = json.dumps({"scores": True})
    answer = client.post("/caption/", data={"data": data, "partial": "true", "config": config}).get_json()
    assert answer["caption"] == CIRCLE_AND_DIAMOND
    first, *refused, last = answer["results"]
    assert (first["captions"], last["captions"]) == ([CIRCLE_AND_DIAMOND], [STAR])
    assert first["scores"] != last["scores"], "each answer has its own"
    assert [result["input"] for result in refused] == list(bad)
    assert all(result.keys() == {"input", "error"} for result in refused)
    assert refused[1]["error"] == NO_IMAGE
    assert "broken or cut short" in refused[2]["error"]


def test_with_an_unreadable_first_image_the_caption_is_null(client: FlaskClient) -> None:
    answer = post(client, data=[text(TRUNCATED), text("star.png")], partial=True).get_json()
    assert answer["caption"] is None
    assert answer["results"][1]["captions"] == [STAR]
    nothing = post(client, data=["???", text(b"no image")], partial=True)
    assert nothing.status_code == 200
    assert [result.keys() for result in nothing.get_json()["results"]] == [{"input", "error"}] * 2


def test_with_partial_invalid_settings_are_still_refused(client: FlaskClient) -> None:
    body = {"data": [text("star.png")], "partial": True}
    assert_error(post(client, **body, config={"max_new_tokens": 64}), 422, "json", "config", "max_new_tokens")


def test_images_of_a_folder_fit_in_one_request(server: Server) -> None:
    images = [base64.b64encode(file.read_bytes()).decode() for file in sorted(ASSETS.glob("*.png"))]
    answer = requests.post(server.url + "/caption/", json={"data": images, "config": {"num_beams": 4}}, timeout=60)
    assert len(answer.json()["results"]) == len(images)
