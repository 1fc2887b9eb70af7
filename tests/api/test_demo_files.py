"""The files of the demo page."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image, ImageChops

from flaskapp.api.caption import CaptionConfig
from flaskapp.api.demo.samples import FOLDER, SAMPLES, draw_all


def test_the_content_security_policy_allows_no_other_host(client: FlaskClient) -> None:
    (policy,) = client.get("/demo").headers.getlist("Content-Security-Policy")
    assert policy == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@pytest.mark.parametrize(
    ("path", "types"),
    [
        ("/demo", {"text/html"}),
        ("/demo/", {"text/html"}),
        ("/demo/static/page.js", {"text/javascript", "application/javascript"}),
        ("/demo/static/demo.css", {"text/css"}),
        ("/demo/static/mark.svg", {"image/svg+xml"}),
        ("/demo/static/samples/two_crosses.png", {"image/png"}),
    ],
)
def test_files_have_their_content_types_and_are_cached(client: FlaskClient, path: str, types: set[str]) -> None:
    answer = client.get(path, buffered=True)
    assert answer.status_code == 200
    assert answer.mimetype in types
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]}, buffered=True)
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["../__init__.py", "..%2fsamples.py", "samples", "", "../templates/demo/index.html"])
def test_no_other_file_is_served(client: FlaskClient, path: str) -> None:
    assert client.get("/demo/static/" + path).status_code == 404


def test_every_generation_setting_has_a_control_with_the_bounds_of_its_schema(client: FlaskClient) -> None:
    page = client.get("/demo").text
    names = re.findall(r'id="\w+" name="(\w+)"', page)
    assert sorted(names) == sorted([*CaptionConfig().fields, "w", "h"])
    assert '<input type="number" id="num_beams" name="num_beams" min="1" max="32"' in page


def test_the_page_knows_the_limits_of_the_server(make_app: Callable[..., Flask]) -> None:
    page = make_app(MAX_UPLOAD_MB=3, MAX_SIDE=100, MAX_MEGAPIXELS=7).test_client().get("/demo").text
    assert 'data-max-upload-mb="3"' in page
    assert "up to 3 MB and 7 megapixels each" in page
    assert 'name="w" min="1" max="100"' in page


@pytest.mark.parametrize(("name", "scene"), SAMPLES)
def test_every_sample_gets_exactly_its_caption(client: FlaskClient, name: str, scene: object) -> None:
    data = io.BytesIO((FOLDER / name).read_bytes()), name
    assert client.post("/caption/", data={"data": data}).get_json()["caption"] == scene.caption


def test_the_sample_files_equal_what_the_code_draws(tmp_path: Path) -> None:
    draw_all(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in FOLDER.iterdir()}
    for drawn in tmp_path.iterdir():
        with Image.open(drawn) as one, Image.open(FOLDER / drawn.name) as other:
            assert ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getbbox() is None, drawn.name
