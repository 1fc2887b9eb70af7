from collections import Counter

import numpy as np
import pytest
from flask.testing import FlaskClient

from flaskapp import images
from flaskapp.images import EncodedImage
from tests.fuzz import checks
from tests.fuzz.fuzzing import fuzz
from tests.fuzz.mutations import broken_images
from tests.fuzz.samples import HEIGHT, WIDTH, samples
from tests.photograph import photograph

SEED = 2026
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's warnings of odd files


@pytest.mark.parametrize("name", samples())
def test_each_unbroken_sample_shows_the_photograph(name: str) -> None:
    picture = EncodedImage(samples()[name], checks.MAX_MEGAPIXELS).decode()
    original = images.Picture(np.asarray(photograph(WIDTH, HEIGHT)), "")
    if picture.pixels.shape[0] == WIDTH:
        original = images.Picture(np.rot90(original.pixels, -1), "")  # its EXIF orientation rotates it
    assert picture.format == name.split()[0]
    assert np.corrcoef(_outline(picture), _outline(original))[0, 1] > 0.9


def _outline(picture: images.Picture) -> np.ndarray:
    """Return the brightness of 8 x 8 fields, which survives a depth of 1 bit."""
    return images.resize(picture, 8, 8).pixels[..., :3].mean(2).ravel()


def test_a_broken_image_is_decoded_or_refused_with_a_documented_error() -> None:
    outcomes: Counter[str] = Counter()
    fuzz(lambda data: outcomes.update([checks.decode(data)]), 1500, SEED, broken_images())
    assert outcomes[checks.READ] > 150, "enough of them have a valid header"
    assert outcomes[checks.UNREADABLE] > 150


def test_a_broken_image_gets_a_documented_answer(client: FlaskClient) -> None:
    outcomes: Counter[str] = Counter()

    def send(data: bytes) -> None:
        answer = checks.resize(client, data)
        assert checks.caption(client, data) in (answer, checks.TOO_NARROW)
        outcomes[answer] += 1

    fuzz(send, 300, SEED, broken_images())
    assert outcomes["200"] > 30
    assert outcomes["422"] > 30
