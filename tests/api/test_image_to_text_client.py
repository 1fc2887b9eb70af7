"""`/image-to-text`, called by Hugging Face's own client."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.api.test_caption import STAR
from tests.api.test_image_to_text import IMAGE, STAR_FILE
from tests.conftest import Server


def ask(url: str, image: bytes | Path = STAR_FILE, **options: Any) -> str:
    client = InferenceClient(model=url, timeout=60, **options)
    return str(client.image_to_text(image).generated_text)


def refusal(url: str, image: bytes | Path = STAR_FILE, **options: Any) -> str:
    """Return the error that the client raises."""
    with pytest.raises(HfHubHTTPError) as caught:
        ask(url, image, **options)
    return str(caught.value)


def test_hugging_face_s_client_gets_captions(server: Server) -> None:
    url = server.url + "/image-to-text"
    assert ask(url) == ask(url, IMAGE) == ask(url + "?num_beams=4") == STAR
    assert ask(url + "?num_beams=1&max_length=5") == "a large pink star"


def test_hugging_face_s_client_shows_the_error(server: Server) -> None:
    url = server.url + "/image-to-text"
    assert "send JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF" in refusal(url, b"<svg/>")
    assert "body: The png image is broken or cut short." in refusal(url, IMAGE[:3000])
    assert "query: num_beams: Must be greater than or equal to 1" in refusal(url + "?num_beams=0")
    assert "query: message: Unknown field." in refusal(url + "?message=1")
    assert "413 REQUEST ENTITY TOO LARGE" in refusal(url, bytes(17 * 2**20))


def test_hugging_face_s_client_shows_that_there_is_no_model(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL=str(tmp_path / "nothing"))
    assert "there is no captioning model" in refusal(server.url + "/image-to-text")


@pytest.fixture
def locked(start_server: Callable[..., Server]) -> Iterator[Server]:
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_REGISTRATION="open")
    requests.post(server.url + "/login/", json={"username": "ada", "password": "secret"}, timeout=30)
    yield server
    server.stop()


def test_hugging_face_s_client_logs_in_with_a_header_and_may_send_a_token(server: Server, locked: Server) -> None:
    login = "Basic " + base64.b64encode(b"ada:secret").decode()
    assert ask(locked.url + "/image-to-text", headers={"Authorization": login}) == STAR
    assert "the API token is unknown" in refusal(locked.url + "/image-to-text", token="hf_canary")
    assert ask(server.url + "/image-to-text", token="hf_canary") == STAR
    assert "canary" not in "".join(server.lines + locked.lines)
