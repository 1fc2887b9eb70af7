"""`/image-to-text`: the image as bytes or in JSON, and its generation settings."""

import base64
import io
import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flaskapp.api.caption import SQUARE
from tests.api.test_caption import STAR
from tests.conftest import ASSETS, Server, assert_error

STAR_FILE = ASSETS / "star.png"
IMAGE = STAR_FILE.read_bytes()
BASE64 = base64.b64encode(IMAGE).decode()
URL_SAFE = base64.urlsafe_b64encode(IMAGE).decode()
BROKEN_INTO_LINES = base64.encodebytes(IMAGE).decode()


def post(client: FlaskClient, query: str = "", data: bytes = IMAGE, **options: Any) -> TestResponse:
    return client.post(f"/image-to-text?{query}", data=data, **options)


def post_json(client: FlaskClient, **members: Any) -> TestResponse:
    return client.post("/image-to-text", json=members)


def assert_refused(response: TestResponse | requests.Response, status: int, *where: str) -> str:
    """Check the error's shape and return `error`, a member of this route alone."""
    body = json.loads(response.text)
    error = body.pop("error")
    assert isinstance(error, str)
    assert_error(SimpleNamespace(status_code=response.status_code, get_json=lambda: body), status, *where)
    return error


@pytest.mark.parametrize(
    "content_type", [None, "image/png", "image/jpeg", "application/octet-stream", "text/html",
                     "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)  # fmt: skip
def test_the_body_is_the_image_with_any_content_type(client: FlaskClient, content_type: str | None) -> None:
    assert post(client, content_type=content_type).get_json() == [{"generated_text": STAR}]


def test_a_form_is_refused_with_what_to_send_instead(client: FlaskClient) -> None:
    answer = client.post("/image-to-text", data={"data": (io.BytesIO(IMAGE), "star.png")})
    assert "Send the image itself" in assert_refused(answer, 415)


@pytest.mark.parametrize(
    "inputs",
    [
        BASE64,
        BROKEN_INTO_LINES,
        BROKEN_INTO_LINES.replace("\n", "\r\n\t"),
        f" {BASE64}\n",
        f"data:image/png;base64, {BASE64}",
        BASE64.rstrip("="),
        URL_SAFE,
        URL_SAFE.rstrip("="),
        f"data:image/png;base64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"DATA:image/png;charset=utf-8;Base64,{BASE64}",
        f"data:image/png;base64,{quote(BASE64, safe='')}",
        f"data:image/png;base64,{URL_SAFE.rstrip('=')}",
        f"data:image/png,{quote(IMAGE)}",
    ],
)
def test_json_holds_the_image_in_base64(client: FlaskClient, inputs: str) -> None:
    assert post_json(client, inputs=inputs).get_json() == [{"generated_text": STAR}]


def test_the_documented_example_is_an_image(client: FlaskClient) -> None:
    assert post_json(client, inputs=SQUARE).get_json() == [
        {"generated_text": "a large red square on a white background"}
    ]


def test_each_sequence_is_an_entry_and_the_best_is_first(client: FlaskClient) -> None:
    answer = post(client, "num_return_sequences=3").get_json()
    assert len(answer) == 3
    assert answer[0] == {"generated_text": STAR}


@pytest.mark.parametrize(
    "query",
    ["num_beams=1&max_length=5", "num_beams=1&max_new_tokens=4", "num_beams=1&max_new_tokens=4&max_length=9&prompt=",
     "num_beams=1&max_length=5&early_stopping=never&do_sample=false&length_penalty=-0.5",
     "num_beams=1&max_length=5&early_stopping=true&temperature=2&top_p=0.5&seed=4294967295"],
)  # fmt: skip
def test_settings_come_in_the_query(client: FlaskClient, query: str) -> None:
    assert post(client, query).get_json() == [{"generated_text": "a large pink star"}]


@pytest.mark.parametrize(
    "parameters",
    [
        {"max_length": 5},
        {"max_new_tokens": 4},  # the fifth is the start token
        {"max_new_tokens": 4, "max_length": 9},
        {"generation_parameters": {"max_length": 5}},
        {"generation_parameters": {"max_new_tokens": 4}, "max_new_tokens": 9},
        {"generate_kwargs": {"max_length": 5}, "max_length": 9},
        {"generate_kwargs": {"max_length": 5}, "max_new_tokens": 12},
    ],
)
def test_settings_come_in_json(client: FlaskClient, parameters: dict[str, Any]) -> None:
    answer = post_json(client, inputs=BASE64, parameters={"num_beams": 1} | parameters)
    assert answer.get_json() == [{"generated_text": "a large pink star"}]


def test_the_options_of_older_clients_are_ignored(client: FlaskClient) -> None:
    for options in ({"wait_for_model": True, "use_cache": False}, {}, None):
        assert post_json(client, inputs=BASE64, options=options).get_json() == [{"generated_text": STAR}]
    assert_refused(post_json(client, inputs=BASE64, options="wait"), 422, "json", "options")


def test_settings_in_json_replace_those_in_the_query(client: FlaskClient) -> None:
    body = {"inputs": BASE64, "parameters": {}}
    assert len(client.post("/image-to-text?num_return_sequences=2", json={"inputs": BASE64}).get_json()) == 2
    assert len(client.post("/image-to-text?num_return_sequences=2", json=body).get_json()) == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [("beams=8", "beams"), ("num_beams=0", "num_beams"), ("num_beams=", "num_beams"), ("num_beams=8.5", "num_beams"),
     ("num_beams=true", "num_beams"), ("num_beams=1_0", "num_beams"), ("beams=null", "beams"),
     ("temperature=0&do_sample=true", "temperature"),
     ("top_p=NaN", "top_p"), ("top_p=1e999", "top_p"), ("top_p=high", "top_p"), ("do_sample=yes", "do_sample"),
     ("do_sample=1", "do_sample"), ("early_stopping=always", "early_stopping"), ("seed=" + "9" * 4000, "seed"),
     ("max_new_tokens=64", "max_new_tokens"), ("num_return_sequences=9", "num_return_sequences"),
     ("max_length=65", "max_length"), ("num_beams=[]", "num_beams")],
)  # fmt: skip
def test_an_invalid_setting_in_the_query_is_named(client: FlaskClient, query: str, field: str) -> None:
    assert assert_refused(post(client, query), 422, "query", field).startswith(f"query: {field}: ")


@pytest.mark.parametrize(
    ("parameters", "where"),
    [
        ({"beams": 8}, ["beams"]),
        ({"num_beams": "8"}, ["num_beams"]),
        ({"max_new_tokens": 0}, ["max_new_tokens"]),
        ({"max_new_tokens": 64}, ["max_new_tokens"]),  # the embedded model has 64 positions
        ({"max_length": 65}, ["max_length"]),
        ({"min_length": 17}, ["min_length"]),
        ({"generation_parameters": {"beams": 8}}, ["generation_parameters", "beams"]),
        ({"generation_parameters": {"generate_kwargs": {}}}, ["generation_parameters", "generate_kwargs"]),
        ({"generate_kwargs": {"num_return_sequences": 9}}, ["num_return_sequences"]),
        ({"generate_kwargs": []}, ["generate_kwargs"]),
        ([], []),
    ],
)
def test_an_invalid_setting_in_json_is_named(client: FlaskClient, parameters: Any, where: list[str]) -> None:
    assert_refused(post_json(client, inputs=BASE64, parameters=parameters), 422, "json", "parameters", *where)


def test_an_unreadable_image_is_named_by_its_place_in_the_request(client: FlaskClient) -> None:
    for broken in (b"", IMAGE[:20], IMAGE[:3000]):
        assert assert_refused(post(client, data=broken), 422, "body").startswith("body: The ")
        assert_refused(post_json(client, inputs=base64.b64encode(broken).decode()), 422, "json", "inputs")
    assert_refused(post(client, data=b"<svg/>"), 415)
    assert_refused(post_json(client, inputs=base64.b64encode(b"<svg/>").decode()), 415)


@pytest.mark.parametrize(
    "inputs",
    [
        "no base64!",
        "caf\u00e9",
        BASE64 + "=",
        "A" + BASE64.rstrip("=") + "=" * 3,
        "a",
        "a===",
        "+-+-",
        "ab/_",
        "ab cd",
        "data:",
        "data:image/png;base64",
        "data:;base64,a",
        "data:;base64,!",
        "data:,\ud800",
        5,
        None,
        [BASE64],
        {"a": BASE64},
    ],
)
def test_invalid_base64_is_named(client: FlaskClient, inputs: Any) -> None:
    assert_refused(post_json(client, inputs=inputs), 422, "json", "inputs")


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_plus_sign_that_became_a_space_is_named(client: FlaskClient, prefix: str) -> None:
    assert "+" in BASE64
    error = assert_refused(post_json(client, inputs=prefix + BASE64.replace("+", " ")), 422, "json", "inputs")
    assert "plus signs" in error


@pytest.mark.parametrize(
    "address", ["http://{}/cat.jpg", "HTTPS://{}/cat.jpg", "ftp://{}/a", "file:///etc/passwd", "s3://a/b"]
)
def test_a_url_is_refused_and_not_fetched(client: FlaskClient, address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        text = address.format(f"127.0.0.1:{listener.getsockname()[1]}")
        assert "no address is fetched" in assert_refused(post_json(client, inputs=text), 422, "json", "inputs")
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_data_url_with_too_many_percent_signs_is_refused(client: FlaskClient) -> None:
    error = assert_refused(post_json(client, inputs="data:image/png," + "%41" * 600_000), 422, "json", "inputs")
    assert error == "json: inputs: The data URL has more than 524288 percent signs: send base64."


def test_a_number_with_thousands_of_digits_is_refused_with_a_message(client: FlaskClient) -> None:
    body = b'{"inputs": %s}' % (b"9" * 5000)
    error = assert_refused(post(client, data=body, content_type="application/json"), 400)
    assert error == "This is not JSON: a number has more than 1000 digits."


def test_null_settings_are_unset(client: FlaskClient) -> None:
    for parameters in (None, {"num_beams": None}, {"max_new_tokens": None, "generate_kwargs": None}):
        answer = post_json(client, inputs=BASE64, parameters=parameters)
        assert answer.get_json() == [{"generated_text": STAR}], parameters
    assert post(client, "num_beams=null&seed=null").get_json() == [{"generated_text": STAR}]
    short = {"max_length": 5, "num_beams": 1, "generation_parameters": {"max_length": None}}
    assert post_json(client, inputs=BASE64, parameters=short).get_json() == [{"generated_text": "a large pink star"}]


def test_a_temperature_of_0_without_sampling_is_ignored(client: FlaskClient) -> None:
    assert post(client, "temperature=0&top_p=0").get_json() == [{"generated_text": STAR}]
    assert post_json(client, inputs=BASE64, parameters={"temperature": 0}).get_json() == [{"generated_text": STAR}]


def test_a_byte_order_mark_before_json_is_ignored(client: FlaskClient) -> None:
    body = "\ufeff" + json.dumps({"inputs": BASE64})
    answer = client.post("/image-to-text", data=body.encode(), content_type="application/json")
    assert answer.get_json() == [{"generated_text": STAR}]


@pytest.mark.parametrize(
    "body", ["{", "", "[" * 9999, '{"inputs": NaN}', '{"inputs": "", "inputs": ""}', b"\xff", IMAGE]
)
def test_a_malformed_json_body_is_refused(client: FlaskClient, body: bytes | str) -> None:
    assert_refused(client.post("/image-to-text", data=body, content_type="application/json"), 400)


@pytest.mark.parametrize("body", ["[]", "5", '"text"'])
def test_json_that_is_no_object_is_refused(client: FlaskClient, body: str) -> None:
    assert_refused(client.post("/image-to-text", data=body, content_type="application/json"), 422, "json")


def test_unknown_members_are_named(client: FlaskClient) -> None:
    assert_refused(post_json(client, inputs=BASE64, message="hello"), 422, "json", "message")
    assert_refused(post_json(client, parameters={}), 422, "json", "inputs")


def large_bmp(megabytes: int) -> bytes:
    """Return a white BMP of about this size, with less than a megapixel per megabyte."""
    side = 512
    rows = megabytes * 2**20 // (4 * side)
    head = b"BM" + (54).to_bytes(4, "little").rjust(12, b"\0")
    sizes = b"".join(number.to_bytes(4, "little") for number in (40, side, rows))
    return head + sizes + bytes([1, 0, 32, 0]) + bytes(24) + b"\xff" * (4 * side * rows)


def test_an_image_in_json_has_the_same_size_limit_as_one_in_bytes(make_app: Callable[..., Flask]) -> None:
    client = make_app(MAX_UPLOAD_MB=4).test_client()
    assert post_json(client, inputs=base64.b64encode(large_bmp(2)).decode()).status_code == 200
    assert_refused(post_json(client, inputs=base64.b64encode(large_bmp(4)).decode()), 413)
    assert_refused(post(client, data=large_bmp(5)), 413)


def test_large_json_without_a_large_image_is_refused(client: FlaskClient) -> None:
    for inputs in ([[]] * 10**6, [0] * 10**6, [{}] * 10**6):
        assert_refused(post_json(client, inputs=inputs), 413)


def test_without_a_model_captions_are_unavailable(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    answer = post(make_app(CAPTIONER_MODEL=str(tmp_path / "nothing")).test_client())
    assert assert_refused(answer, 503) == "there is no captioning model: it could not be loaded"
    assert int(answer.headers["Retry-After"]) > 0


def test_a_body_may_come_in_chunks(server: Server) -> None:
    answer = requests.post(server.url + "/image-to-text", data=iter([IMAGE[:100], IMAGE[100:]]), timeout=60)
    assert answer.json() == [{"generated_text": STAR}]
