import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from urllib3 import encode_multipart_formdata
from werkzeug.test import TestResponse

from tests.conftest import Server, assert_error
from tests.test_images import assert_quarters, quarters, to_bytes


def resize(client: FlaskClient, data: bytes, name: str = "image.png", **query: Any) -> TestResponse:
    body, content_type = encode_multipart_formdata({"data": (name, data)})
    return client.post("/cv_model/", data=body, content_type=content_type, query_string=query)


def opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body))


def test_the_answer_is_28_pixels_square_by_default(client: FlaskClient) -> None:
    answer = resize(client, to_bytes(quarters(), "PNG"))
    assert answer.status_code == 200
    assert opened(answer.data).size == (28, 28)
    assert_quarters(np.asarray(opened(answer.data)))


def test_h_is_the_height_and_w_the_width(client: FlaskClient) -> None:
    assert opened(resize(client, to_bytes(quarters(), "PNG"), h=10, w=40).data).size == (40, 10)


@pytest.mark.parametrize(
    ("upload", "asked", "format", "ending"),
    [("PNG", None, "PNG", "png"), ("JPEG", None, "JPEG", "jpg"), ("WEBP", None, "WEBP", "webp"),
     ("GIF", None, "JPEG", "jpg"), ("BMP", None, "JPEG", "jpg"), ("PNG", "jpeg", "JPEG", "jpg"),
     ("JPEG", "png", "PNG", "png"), ("BMP", "webp", "WEBP", "webp"), ("TIFF", None, "JPEG", "jpg"),
     ("AVIF", None, "JPEG", "jpg"), ("HEIF", None, "JPEG", "jpg")],
)  # fmt: skip
def test_the_answer_has_the_requested_format_or_the_upload_s(
    client: FlaskClient, upload: str, asked: str | None, format: str, ending: str
) -> None:
    answer = resize(client, to_bytes(quarters(), upload), **({"format": asked} if asked else {}))
    assert opened(answer.data).format == format
    assert answer.mimetype == f"image/{format.lower()}"
    assert answer.headers["Content-Disposition"] == f"attachment; filename=image_resize.{ending}"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize(
    ("width", "height"), [(60, 40), (2400, 1600), (4000, 3999)]
)  # the large ones are decoded at a smaller scale
def test_the_upload_size_headers_apply_the_orientation(
    client: FlaskClient, orientation: int, width: int, height: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = io.BytesIO()
    Image.new("RGB", (width, height)).save(body, "JPEG", exif=exif)
    headers = resize(client, body.getvalue()).headers
    size = (int(headers["X-Upload-Width"]), int(headers["X-Upload-Height"]))
    assert size == ((height, width) if orientation in (6, 8) else (width, height))


@pytest.mark.parametrize("name", ["photo.txt", "../../x.png", "a\r\nb.png", "a\0b.png", "a" * 5000, "ä.png"])
def test_the_content_decides_the_format_and_not_the_name(client: FlaskClient, name: str) -> None:
    answer = resize(client, to_bytes(quarters(), "PNG"), name)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == "attachment; filename=image_resize.png"


@pytest.mark.parametrize("side", ["h", "w"])
@pytest.mark.parametrize("pixels", ["0", "-1", "4097", "1e9", "NaN", "", "28.0", "9" * 5000])
def test_an_invalid_side_is_named(client: FlaskClient, side: str, pixels: str) -> None:
    assert_error(resize(client, to_bytes(quarters(), "PNG"), **{side: pixels}), 422, "query", side)


def test_the_largest_side_is_a_setting(make_app: Callable[..., Flask]) -> None:
    client = make_app(MAX_SIDE=50).test_client()
    assert resize(client, to_bytes(quarters(), "PNG"), h=50).status_code == 200
    assert_error(resize(client, to_bytes(quarters(), "PNG"), h=51), 422, "query", "h")


def test_an_unknown_format_is_named(client: FlaskClient) -> None:
    assert_error(resize(client, to_bytes(quarters(), "PNG"), format="tiff"), 422, "query", "format")


def test_an_unreadable_image_is_named(client: FlaskClient) -> None:
    whole = to_bytes(quarters(), "PNG")
    assert_error(resize(client, whole[: len(whole) // 2]), 422, "multipart", "data")
    assert_error(resize(client, b""), 422, "multipart", "data")
    assert_error(resize(client, b"<svg/>"), 415)


def test_an_image_with_too_many_pixels_is_named(make_app: Callable[..., Flask]) -> None:
    client = make_app(MAX_MEGAPIXELS=1).test_client()
    assert resize(client, to_bytes(Image.new("1", (1000, 1000)), "PNG")).status_code == 200
    assert_error(resize(client, to_bytes(Image.new("1", (1001, 1000)), "PNG")), 422, "multipart", "data")


def test_a_request_without_a_file_is_refused(client: FlaskClient) -> None:
    assert_error(client.post("/cv_model/"), 422, "multipart", "data")
    assert_error(client.post("/cv_model/", data={"data": "text"}), 422, "multipart", "data")
    assert_error(client.post("/cv_model/", data=b"x", content_type="multipart/form-data"), 400)
    assert_error(client.post("/cv_model/", data=b"x", content_type="image/png"), 415)


def test_two_files_or_an_unknown_part_are_refused(client: FlaskClient) -> None:
    file = to_bytes(quarters(), "PNG")
    two = {"data": [(io.BytesIO(file), "a.png"), (io.BytesIO(file), "b.png")]}
    assert_error(client.post("/cv_model/", data=two), 422, "multipart", "data")
    unknown = {"data": (io.BytesIO(file), "a.png"), "image": "x"}
    assert_error(client.post("/cv_model/", data=unknown), 422, "multipart", "image")


def test_a_too_large_body_is_refused(make_app: Callable[..., Flask]) -> None:
    client = make_app(MAX_UPLOAD_MB=1).test_client()
    answer = resize(client, b"\x89PNG\r\n\x1a\n" + bytes(2**20))
    assert_error(answer, 413)
    assert answer.get_json()["message"] == "the body is larger than 1 MiB, the most that this server takes"


def test_concurrent_clients_get_their_own_images(server: Server) -> None:
    def send(shade: int) -> tuple[int, Any]:
        data = to_bytes(Image.new("RGB", (50, 50), (shade, 0, 255 - shade)), "PNG")
        answer = requests.post(server.url + "/cv_model/", files={"data": data}, timeout=30)
        return shade, opened(answer.content).getpixel((14, 14))

    with ThreadPoolExecutor(16) as pool:
        for shade, pixel in pool.map(send, range(0, 250, 5)):
            assert pixel == (shade, 0, 255 - shade)
