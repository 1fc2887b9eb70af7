"""`caption_partial`, with which an unreadable image fails alone, against the real server."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from flaskapp.client import Client, ImageCaptions, ImageError, RequestRefused, UnexpectedAnswer
from tests.client.scripted import ScriptedServer, answer
from tests.client.test_client import CIRCLE_AND_DIAMOND, STAR
from tests.conftest import ASSETS, Server

PATH = ASSETS / "star.png"
BROKEN = PATH.read_bytes()[:3000]


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_an_unreadable_image_fails_alone_in_its_place(remote: Client, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    images = [PATH, io.BytesIO(BROKEN), tmp_path / "text.png", ASSETS / "circle_and_diamond.png"]
    captions = remote.caption_partial(images, num_beams=8, scores=True)
    first, broken, text, last = captions.results
    assert isinstance(first, ImageCaptions)
    assert isinstance(last, ImageCaptions)
    assert (first.input, first.best, last.best) == ("star.png", STAR, CIRCLE_AND_DIAMOND)
    assert first.scores is not None
    assert broken == ImageError("image", "the png image is broken or cut short")
    assert isinstance(text, ImageError)
    assert text.input == "text.png"
    assert text.error.startswith("this is not an image")
    assert (captions.model, captions.warning) == ("embedded", None)
    assert captions.captioned == [first, last]
    assert captions.failed == [broken, text]


def test_readable_images_have_no_errors(remote: Client) -> None:
    assert remote.caption_partial([PATH]).results == list(remote.caption_many([PATH]).results)
    assert remote.caption_partial([PATH]).failed == []


def test_unreadable_images_have_only_errors(remote: Client) -> None:
    captions = remote.caption_partial([BROKEN, b"no image"])
    assert captions.captioned == []
    assert len(captions.failed) == 2


def test_an_invalid_request_is_refused(remote: Client) -> None:
    with pytest.raises(RequestRefused, match=r"422: multipart\.config\.num_beams: "):
        remote.caption_partial([PATH, BROKEN], num_beams=1000)
    with pytest.raises(RequestRefused, match=r"422: multipart\.data"):
        remote.caption_partial([])
    with pytest.raises(TypeError, match="a list of images is meant"):
        remote.caption_partial(PATH)  # type: ignore[arg-type]


def test_caption_many_refuses_all_images_for_one_broken_image(remote: Client) -> None:
    with pytest.raises(RequestRefused, match=r"422: multipart\.data\.1"):
        remote.caption_many([PATH, BROKEN])


@pytest.mark.parametrize("results", [[], [{"input": "x"}], [{"captions": ["a star"]}], [{"error": "broken"}], 5])
def test_invalid_results_are_an_unexpected_answer(results: object) -> None:
    body = {"model": "m", "results": results}
    with (
        ScriptedServer([answer(200, body)]) as server,
        Client(server.url) as client,
        pytest.raises(UnexpectedAnswer),
    ):
        client.caption_partial([b"image"])
