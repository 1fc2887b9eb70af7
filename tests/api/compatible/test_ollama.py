"""Ollama's API, called by Ollama's own client and by curl as its documentation shows it."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.compatible.images import CIRCLE_AND_DIAMOND, STAR, base64_of, file
from tests.captioner.prompted import write_blip
from tests.conftest import ASSETS, Server


@pytest.fixture
def ollama_client(server: Server) -> Iterator[ollama.Client]:
    client = ollama.Client(host=server.url, timeout=60)
    yield client
    client.close()


def test_an_image_gets_its_caption(ollama_client: ollama.Client) -> None:
    answer = ollama_client.generate("moondream", "Describe it.", images=[file("star.png")])
    assert (answer.model, answer.response, answer.done, answer.done_reason) == ("moondream", STAR, True, "stop")
    assert answer.eval_count is not None
    assert answer.eval_count > 5
    assert answer.total_duration is not None
    assert answer.eval_duration is not None
    assert 0 < answer.eval_duration <= answer.total_duration < 60e9


def test_a_stream_has_the_same_text_and_ends_with_the_counts(ollama_client: ollama.Client) -> None:
    *parts, last = ollama_client.generate("moondream", images=[ASSETS / "star.png"], stream=True)
    assert "".join(part.response for part in [*parts, last]) == STAR
    assert [part.done for part in parts] == [False] * len(parts)
    assert (last.done, last.done_reason) == (True, "stop")
    assert last.eval_count


def test_without_beam_search_the_words_are_streamed_one_by_one(ollama_client: ollama.Client) -> None:
    options = {"temperature": 0.01, "seed": 1}
    parts = list(ollama_client.generate("any", images=[file("star.png")], options=options, stream=True))
    assert "".join(part.response for part in parts) == STAR
    assert len(parts) > 4, "more than one part with the whole text and the end"


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_describes_its_last_images(ollama_client: ollama.Client, stream: bool) -> None:
    messages = [
        {"role": "system", "content": "You describe images."},
        {"role": "user", "content": "What is this?", "images": [file("star.png")]},
        {"role": "assistant", "content": STAR},
        {"role": "user", "content": "And these?", "images": [file("circle_and_diamond.png"), file("star.png")]},
    ]
    if stream:
        text = "".join(part.message.content for part in ollama_client.chat("any", messages, stream=True))
    else:
        text = str(ollama_client.chat("any", messages).message.content)
    assert text == f"{CIRCLE_AND_DIAMOND}\n{STAR}"


def test_options_set_the_length_and_sampling(ollama_client: ollama.Client) -> None:
    cut = ollama_client.generate("any", images=[file("star.png")], options={"num_predict": 3})
    assert (cut.done_reason, cut.eval_count) == ("length", 3)
    unbounded = ollama_client.generate("any", images=[file("star.png")], options={"num_predict": -1, "num_ctx": 4096})
    assert unbounded.response == STAR
    drawn = [
        ollama_client.generate(
            "any", images=[file("star.png")], options={"temperature": 5.0, "seed": seed, "top_k": -1}
        ).response
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_one_model_is_listed_shown_and_loaded(ollama_client: ollama.Client) -> None:
    (model,) = ollama_client.list().models
    assert model.model == "embedded"
    assert "vision" in (ollama_client.show("embedded").capabilities or [])
    assert ollama_client.show("embedded:latest").details == model.details
    assert ollama_client.generate("embedded").done_reason == "load"
    assert ollama_client.chat("embedded").done_reason == "load"
    with pytest.raises(ollama.ResponseError, match="this server's model is embedded") as caught:
        ollama_client.show("another")
    assert caught.value.status_code == 404


def test_the_curl_call_of_ollama_s_documentation_works(server: Server) -> None:
    """The call sets no content type, so curl sends that of a form."""
    asked = {"model": "llava", "prompt": "What is in it?", "stream": False}
    body = json.dumps(asked | {"images": [base64_of("star.png")]})
    ended = subprocess.run(
        ["curl", "-sS", server.url + "/api/generate", "-d", body], capture_output=True, text=True, timeout=60
    )
    assert json.loads(ended.stdout)["response"] == STAR, ended.stderr
    ended = subprocess.run(["curl", "-sS", server.url + "/api/version"], capture_output=True, text=True, timeout=60)
    assert json.loads(ended.stdout).keys() == {"version"}


@pytest.mark.slow
def test_the_prompt_reaches_a_model_that_takes_text(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    client = make_app(CAPTIONER_MODEL=str(write_blip(tmp_path))).test_client()
    body = {"images": [base64_of("star.png")], "stream": False}
    answers = [
        client.post("/api/generate", json=body | {"prompt": "a photograph of"}).get_json()["response"],
        client.post(
            "/api/chat",
            json={
                "messages": [{"role": "user", "content": "a photograph of", "images": body["images"]}],
                "stream": False,
            },
        ).get_json()["message"]["content"],
    ]
    without = client.post("/api/generate", json=body).get_json()
    assert answers[0] == answers[1] != without["response"]


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("/api/generate", {"prompt": "hello"}, "images: There is no image in it"),
    ("/api/generate", {"images": "text"}, "images: Not a valid list"),
    ("/api/generate", {"images": [5]}, "images.0: Not a valid string"),
    ("/api/generate", {"images": ["http://127.0.0.1/cat.jpg"]}, "images.0: Send the image itself"),
    ("/api/generate", {"images": ["AAAA"]}, "images.0: This is not an image"),
    ("/api/generate", {"images": ["???"]}, "images.0: Not valid base64"),
    ("/api/generate", {"images": [base64_of("star.png")[:400]], "stream": False}, "images.0: "),
    ("/api/generate", {"images": [base64_of("star.png")] * 33}, "images.32: Send at most 32 images at once"),
    ("/api/generate", {"images": [], "stream": "yes"}, "stream: Not a valid boolean"),
    ("/api/generate", {"options": {"temperature": -1}}, "options.temperature: Must be"),
    ("/api/chat", {"messages": [{"role": "user", "content": "hello"}]}, "messages: There is no image in it"),
    ("/api/chat", {"messages": [{"content": "hello"}]}, "messages.0.role: Missing data"),
    ("/api/chat", {"messages": [{"role": "user", "images": ["AA"]}]}, "messages.0.images.0: This is not an image"),
    ("/api/show", {"model": 5}, "model: Not a valid string"),
    ("/api/show", {}, "model: Missing data for required field."),
]


@pytest.mark.parametrize(("path", "body", "sentence"), WRONG)
def test_errors_have_ollama_s_shape(client: FlaskClient, path: str, body: dict[str, Any], sentence: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert answer.get_json().keys() == {"error"}
    assert answer.get_json()["error"].startswith(sentence)
