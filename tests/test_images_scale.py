"""Large images: decoding at a smaller scale, and the limit of memory."""

import io

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from flaskapp import images
from flaskapp.images import encoded
from tests.conftest import assert_error
from tests.photograph import photograph
from tests.test_images import to_bytes


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("side", [1, 28, 60, 75, 100, 133, 150, 224, 267, 300])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_large_image_decoded_at_a_smaller_scale_looks_the_same(format: str, side: int, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = to_bytes(photograph(1601, 1203), format, quality=92, exif=exif)
    image = images.EncodedImage(data, max_megapixels=50)
    width, height = side, max(1, side * 3 // 4)
    fast = images.resize(image.decode(for_side=side), width, height).pixels.astype(float)
    full = images.resize(image.decode(), width, height).pixels.astype(float)
    error = np.mean((fast - full) ** 2)
    assert side == 1 or error > 0, "the image was not decoded at a smaller scale"
    assert error < 255**2 / 10**3.5, "35 decibels of peak signal to noise"


def test_images_of_every_format_are_reduced_before_resizing() -> None:
    picture = photograph(1600, 1200)
    for data in (to_bytes(picture, "PNG"), to_bytes(picture, "WEBP"), to_bytes(picture.convert("RGBA"), "PNG")):
        image = images.EncodedImage(data, max_megapixels=50)
        assert image.decode(for_side=224).pixels.shape[:2] == (600, 800)
        assert image.decode(for_side=301).pixels.shape[:2] == (1200, 1600)


def test_only_a_large_jpeg_with_a_small_target_is_decoded_at_a_smaller_scale() -> None:
    jpeg = images.EncodedImage(to_bytes(photograph(1600, 1200), "JPEG"), max_megapixels=50)
    assert jpeg.decode(for_side=301).pixels.shape == (1200, 1600, 3)
    assert jpeg.decode(for_side=300).pixels.shape == (600, 800, 3)
    assert jpeg.decode(for_side=40).pixels.shape == (150, 200, 3)
    small = images.EncodedImage(to_bytes(photograph(800, 600), "JPEG"), max_megapixels=50)
    assert small.decode(for_side=20).pixels.shape == (600, 800, 3)
    png = images.EncodedImage(to_bytes(photograph(80, 60), "PNG"), max_megapixels=50)
    assert png.decode(for_side=2).pixels.shape == (60, 80, 3)


def test_an_image_beyond_the_memory_for_one_is_refused(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    data = to_bytes(photograph(80, 60), "PNG")
    monkeypatch.setattr(encoded, "MAX_BYTES", 80 * 60 * encoded.BYTES_OF_OTHER_PIXEL)
    assert client.post("/image-to-text", data=data).status_code == 200
    monkeypatch.setattr(encoded, "MAX_BYTES", 80 * 60 * encoded.BYTES_OF_OTHER_PIXEL - 1)
    answer = client.post("/caption/", data={"data": (io.BytesIO(data), "large.png")})
    assert_error(answer, 422, "multipart", "data", "0")
    assert "more memory" in str(answer.json)
