"""Checks of an image with arbitrary bytes: valid pixels or answers, or an error of the contract."""

import io
import json
import time

import numpy as np
from flask.testing import FlaskClient
from PIL import Image

from flaskapp.errors import UnreadableImage, UnsupportedImageFormat
from flaskapp.images import EncodedImage

MAX_MEGAPIXELS = 50  # the setting's default
MAX_SECONDS = 10  # CPU seconds for an image of 50 megapixels
READ, UNREADABLE, UNSUPPORTED = "read", "refused as unreadable", "refused as unsupported"
TOO_NARROW = "422, too narrow for the model"
QUICK = {"num_beams": 1, "max_length": 4}


def decode(data: bytes) -> str:
    """Decode an image. Return READ or one of the two documented errors. Fail for other errors and slow images."""
    start = time.thread_time()
    try:
        pixels = EncodedImage(data, MAX_MEGAPIXELS).decode().flatten()
    except UnreadableImage:
        return UNREADABLE
    except UnsupportedImageFormat:
        return UNSUPPORTED
    finally:
        seconds = time.thread_time() - start
        assert seconds < MAX_SECONDS, f"{seconds:.1f} CPU seconds"
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert 0 < pixels.size <= 3 * MAX_MEGAPIXELS * 1_000_000
    return READ


def resize(client: FlaskClient, data: bytes) -> str:
    """Return the status of `/cv_model/`: 200 with an image of the requested size, 415 or 422."""
    answer = client.post("/cv_model/?h=20&w=30", data={"data": (io.BytesIO(data), "image")})
    assert answer.status_code in (200, 415, 422), answer.text
    if answer.status_code == 200:
        with Image.open(io.BytesIO(answer.data)) as image:
            image.load()
            assert image.size == (30, 20)
    return str(answer.status_code)


def caption(client: FlaskClient, data: bytes) -> str:
    """Return the status of `/caption/`: 200 with a caption, 415, 422, or `TOO_NARROW`."""
    form = {"data": (io.BytesIO(data), "image"), "config": json.dumps(QUICK)}
    answer = client.post("/caption/", data=form)
    assert answer.status_code in (200, 415, 422), answer.text
    assert answer.status_code != 200 or answer.get_json()["caption"]
    return TOO_NARROW if "times as long as it is wide" in answer.text else str(answer.status_code)
