import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from flaskapp.api.caption import CaptionConfig
from tests.conftest import ASSETS, Server, assert_error

STAR = "a large pink star on a yellow background"
CIRCLE_AND_DIAMOND = "a large red circle left of a small black diamond on a pink background"


def asset(name: str) -> tuple[io.BytesIO, str]:
    return io.BytesIO((ASSETS / name).read_bytes()), name


def caption(client: FlaskClient, *names: str, config: Any = None) -> TestResponse:
    """Post assets with a config as a text field. A config that is no text is sent as JSON."""
    form: dict[str, Any] = {"data": [asset(name) for name in names]}
    if config is not None:
        form["config"] = config if isinstance(config, str) else json.dumps(config)
    return client.post("/caption/", data=form)


def test_an_image_gets_its_caption(client: FlaskClient) -> None:
    assert caption(client, "star.png").get_json() == {
        "message": "OK",
        "status-code": 200,
        "model": "embedded",
        "caption": STAR,
        "results": [{"input": "star.png", "captions": [STAR]}],
    }


def test_several_captions_have_the_order_of_their_images(client: FlaskClient) -> None:
    answer = caption(client, "circle_and_diamond.png", "star.png", "circle_and_diamond.png").get_json()
    assert answer["caption"] == CIRCLE_AND_DIAMOND
    assert [result["input"] for result in answer["results"]] == [
        "circle_and_diamond.png", "star.png", "circle_and_diamond.png"
    ]  # fmt: skip
    assert [result["captions"][0] for result in answer["results"]] == [CIRCLE_AND_DIAMOND, STAR, CIRCLE_AND_DIAMOND]


def test_the_config_arrives_as_a_text_field(client: FlaskClient) -> None:
    answer = caption(client, "star.png", config={"num_return_sequences": 3}).get_json()
    assert len(answer["results"][0]["captions"]) == 3
    assert answer["caption"] == answer["results"][0]["captions"][0] == STAR


def test_the_config_arrives_as_a_json_part_with_a_file_name(client: FlaskClient) -> None:
    config = io.BytesIO(b'{"num_return_sequences": 3}'), "blob", "application/json"
    answer = client.post("/caption/", data={"data": asset("star.png"), "config": config}).get_json()
    assert len(answer["results"][0]["captions"]) == 3


def test_max_length_truncates_a_caption(client: FlaskClient) -> None:
    answer = caption(client, "star.png", config={"max_length": 5, "num_beams": 1}).get_json()
    assert answer["caption"] == "a large pink star"


def test_an_integer_may_be_written_as_a_float(client: FlaskClient) -> None:
    assert (
        caption(client, "star.png", config='{"max_length": 5.0, "num_beams": 1.0}').get_json()["caption"]
        == "a large pink star"
    )


def test_a_seed_makes_sampling_repeatable(client: FlaskClient) -> None:
    config = {"do_sample": True, "num_beams": 1, "temperature": 20, "top_k": 0, "seed": 7}
    assert caption(client, "star.png", config=config).data == caption(client, "star.png", config=config).data


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"beams": 8}, "beams"),
        ({"max_length": 1}, "max_length"),
        ({"max_length": 65}, "max_length"),  # the embedded model has 64 positions
        ({"max_length": 10**9}, "max_length"),
        ({"max_length": "16"}, "max_length"),
        ({"max_length": 16.5}, "max_length"),
        ({"max_length": True}, "max_length"),
        ({"min_length": 17}, "min_length"),
        ({"num_beams": 0}, "num_beams"),
        ({"num_beams": 10_000}, "num_beams"),
        ({"num_return_sequences": 9}, "num_return_sequences"),
        ({"length_penalty": "1"}, "length_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"early_stopping": "always"}, "early_stopping"),
        ({"early_stopping": 1}, "early_stopping"),
        ({"do_sample": "yes"}, "do_sample"),
        ({"temperature": 0, "do_sample": True}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0, "do_sample": True}, "top_p"),
        ({"beams": None}, "beams"),
        ({"top_p": 1.1}, "top_p"),
        ({"seed": -1}, "seed"),
    ],
)
def test_an_invalid_setting_is_named(client: FlaskClient, config: dict[str, Any], field: str) -> None:
    assert_error(caption(client, "star.png", config=config), 422, "multipart", "config", field)


@pytest.mark.parametrize(
    "config", ["{", "\ufeff{", "{'max_length': 16}", '{"top_p": NaN}', '{"seed": 1, "seed": 2}', "[" * 9999]
)
def test_a_config_that_is_not_json_is_a_bad_request(client: FlaskClient, config: str) -> None:
    answer = caption(client, "star.png", config=config)
    assert_error(answer, 400)
    assert answer.get_json()["message"].startswith("config: ")


PLAIN = ["", " \r\n", "\ufeff", "{}", "\ufeff{}", "null", " null "]


@pytest.mark.parametrize("config", PLAIN)
def test_a_config_without_settings_changes_nothing(client: FlaskClient, config: str) -> None:
    assert caption(client, "star.png", config=config).get_json()["caption"] == STAR
    file = io.BytesIO(config.encode()), "c.json", "application/json"
    answer = client.post("/caption/", data={"data": asset("star.png"), "config": file})
    assert answer.get_json()["caption"] == STAR


@pytest.mark.parametrize("name", CaptionConfig().fields)
def test_a_setting_that_is_null_is_not_set(client: FlaskClient, name: str) -> None:
    assert caption(client, "star.png", config={name: None}).data == caption(client, "star.png").data


def test_a_byte_order_mark_before_a_config_is_ignored(client: FlaskClient) -> None:
    short = '\ufeff{"max_length": 5, "num_beams": 1}'
    assert caption(client, "star.png", config=short).get_json()["caption"] == "a large pink star"
    file = io.BytesIO(short.encode()), "c.json", "application/json"
    answer = client.post("/caption/", data={"data": asset("star.png"), "config": file})
    assert answer.get_json()["caption"] == "a large pink star"


def test_a_config_in_another_encoding_gets_an_error_that_names_the_encoding(client: FlaskClient) -> None:
    file = io.BytesIO("{}".encode("utf-16")), "c.json", "application/json"
    answer = client.post("/caption/", data={"data": asset("star.png"), "config": file})
    assert_error(answer, 400)
    assert answer.get_json()["message"] == "config: The JSON is encoded in UTF-16: send UTF-8."


@pytest.mark.parametrize("setting", ["temperature", "top_p"])
def test_invalid_sampling_settings_are_ignored_without_sampling(client: FlaskClient, setting: str) -> None:
    assert caption(client, "star.png", config={setting: 0}).data == caption(client, "star.png").data


@pytest.mark.parametrize("names", [["data[]"] * 2, ["data[0]", "data[1]"]])
def test_several_files_may_have_the_field_names_of_php_and_axios(client: FlaskClient, names: list[str]) -> None:
    form = MultiDict(zip(names, [asset("star.png"), asset("circle_and_diamond.png")], strict=True))
    results = client.post("/caption/", data=form).get_json()["results"]
    assert [result["captions"][0] for result in results] == [STAR, CIRCLE_AND_DIAMOND]


def test_numbered_field_names_set_the_order(client: FlaskClient) -> None:
    form = {f"data[{number}]": (asset("star.png")[0], f"{number}.png") for number in reversed(range(11))}
    results = client.post("/caption/", data=form).get_json()["results"]
    assert [result["input"] for result in results] == [f"{number}.png" for number in range(11)]


@pytest.mark.parametrize("names", [["data", "data[]"], ["data[]", "data[0]"], ["data[1]", "data[2]"], ["data[a]"]])
def test_field_names_with_an_ambiguous_order_are_refused(client: FlaskClient, names: list[str]) -> None:
    form = {name: asset("star.png") for name in names}
    assert_error(client.post("/caption/", data=form), 422, "multipart", names[-1])


@pytest.mark.parametrize("config", ["[]", "5", '"text"'])
def test_a_config_must_be_an_object(client: FlaskClient, config: str) -> None:
    assert_error(caption(client, "star.png", config=config), 422, "multipart", "config")


def test_a_second_config_is_refused(client: FlaskClient) -> None:
    form = {"data": asset("star.png"), "config": ["{}", "{}"]}
    assert_error(client.post("/caption/", data=form), 422, "multipart", "config")


def test_a_bad_image_is_named_by_its_index(client: FlaskClient) -> None:
    broken = io.BytesIO((ASSETS / "star.png").read_bytes()[:3000]), "broken.png"
    answer = client.post("/caption/", data={"data": [asset("star.png"), broken]})
    assert_error(answer, 422, "multipart", "data", "1")
    unknown = io.BytesIO(b"<svg/>"), "drawing.svg"
    answer = client.post("/caption/", data={"data": [asset("star.png"), unknown]})
    assert_error(answer, 415)
    assert answer.get_json()["message"].startswith("data.1: this is SVG, which cannot be read here: send JPEG")
    alone = client.post("/caption/", data={"data": (io.BytesIO(b"<svg/>"), "drawing.svg")})
    assert_error(alone, 415)
    assert alone.get_json()["message"].startswith("this is SVG, which cannot be read here")


def test_a_too_narrow_image_is_named_by_its_index(client: FlaskClient) -> None:
    answer = client.post("/caption/", data={"data": [asset("star.png"), narrow()]})
    assert_error(answer, 422, "multipart", "data", "1")
    answer = client.post("/caption/", data={"data": [asset("star.png"), narrow()], "partial": "true"})
    assert [result.get("error", "") for result in answer.get_json()["results"]] == [
        "",
        "the image is more than 200 times as long as it is wide",
    ]


def narrow() -> tuple[io.BytesIO, str]:
    buffer = io.BytesIO()
    Image.new("RGB", (1000, 1)).save(buffer, "PNG")
    buffer.seek(0)
    return buffer, "narrow.png"


def test_all_images_without_a_readable_header_are_named(client: FlaskClient) -> None:
    files = [(io.BytesIO(b""), "empty.png"), asset("star.png"), (io.BytesIO(b"GIF89a"), "short.gif")]
    answer = client.post("/caption/", data={"data": files})
    assert_error(answer, 422, "multipart", "data")
    assert answer.get_json()["errors"]["multipart"]["data"].keys() == {"0", "2"}


def test_a_request_without_images_is_refused(client: FlaskClient) -> None:
    assert_error(client.post("/caption/", data={"config": "{}"}), 422, "multipart", "data")
    assert_error(client.post("/caption/"), 422, "multipart", "data")
    assert_error(client.post("/caption/", json={}), 422, "json", "data")
    assert_error(client.post("/caption/", data="<data/>", content_type="text/xml"), 415)


def test_too_many_images_are_refused_before_any_is_decoded(make_app: Callable[..., Flask]) -> None:
    client = make_app(MAX_IMAGES=2).test_client()
    answer = client.post("/caption/", data={"data": [(io.BytesIO(b"not an image"), "x")] * 1 + [asset("star.png")] * 2})
    assert_error(answer, 422, "multipart", "data")
    assert "at most 2" in answer.text


def test_without_a_model_captions_are_unavailable_and_other_endpoints_work(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    client = make_app(CAPTIONER_MODEL=str(tmp_path / "nothing")).test_client()
    answer = caption(client, "star.png")
    assert_error(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/").status_code == 200


def test_a_config_without_a_file_name_is_read_over_http(server: Server) -> None:
    files = [("data", asset("star.png")[0]), ("config", (None, '{"num_beams": 2}'))]
    answer = requests.post(server.url + "/caption/", files=files, timeout=60)
    assert answer.json()["caption"] == STAR


def test_a_config_has_a_maximum_size(client: FlaskClient) -> None:
    assert_error(caption(client, "star.png", config='{"seed": ' + " " * 2**17 + "1}"), 413)


def test_a_form_of_more_than_a_thousand_parts_is_refused(client: FlaskClient) -> None:
    form = {"data": [(io.BytesIO(b"x"), f"{number}.png") for number in range(1001)]}
    assert_error(client.post("/caption/", data=form), 413)
