from collections import Counter

import numpy as np
import pytest
from flask.testing import FlaskClient

from flaskapp import images
from flaskapp.images import EncodedImage
from tests.fuzz import checks
from tests.fuzz.samples import HEIGHT, WIDTH, samples
from tests.photograph import photograph

SEED = 2026
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what is odd about a file


@pytest.mark.parametrize("name", samples())
def test_each_sample_shows_the_photograph_before_it_is_broken(name: str) -> None:
    picture = EncodedImage(samples()[name], checks.MAX_MEGAPIXELS).decode()
    original = images.Picture(np.asarray(photograph(WIDTH, HEIGHT)), "")
    if picture.pixels.shape[0] == WIDTH:
        original = images.Picture(np.rot90(original.pixels, -1), "")  # its EXIF orientation turned it
    assert picture.format == name.split()[0]
    assert np.corrcoef(_outline(picture), _outline(original))[0, 1] > 0.9


def _outline(picture: images.Picture) -> np.ndarray:
    """Light and shade of 8 x 8 places: what is left of a photograph in 1 bit."""
    return images.resize(picture, 8, 8).pixels[..., :3].mean(2).ravel()


def test_a_broken_image_is_read_or_refused_with_one_of_the_two_errors() -> None:
    outcomes: Counter[str] = Counter()
    checks.fuzz(lambda data: outcomes.update([checks.decode(data)]), 3000, SEED)
    assert outcomes[checks.READ] > 300, "enough of them came through the header"
    assert outcomes[checks.UNREADABLE] > 300


def test_a_broken_image_gets_an_answer_of_the_contract(client: FlaskClient) -> None:
    outcomes: Counter[str] = Counter()

    def send(data: bytes) -> None:
        answer = checks.resize(client, data)
        assert checks.caption(client, data) in (answer, checks.TOO_NARROW)
        outcomes[answer] += 1

    checks.fuzz(send, 600, SEED)
    assert outcomes["200"] > 60
    assert outcomes["422"] > 60
