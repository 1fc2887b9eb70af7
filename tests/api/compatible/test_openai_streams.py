"""Streamed answers: words are sent as they are generated, and how a stream ends."""

import json
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest
import requests
from flask.testing import FlaskClient

from flaskapp.captioner import captioner
from flaskapp.captioner.generation import Caption
from flaskapp.errors import CaptionFailed
from tests.api.compatible.images import STAR
from tests.api.compatible.test_openai import ask, image, openai_client, user
from tests.conftest import Server

__all__ = ["openai_client"]  # a fixture


def test_a_stream_has_the_same_text_the_finish_reason_and_the_usage(openai_client: openai.OpenAI) -> None:
    whole = ask(openai_client, user(image()), n=2)
    chunks = list(ask(openai_client, user(image()), n=2, stream=True, stream_options={"include_usage": True}))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    *parts, last = chunks
    assert last.choices == []
    assert last.usage == whole.usage
    for index in (0, 1):
        choices = [chunk.choices[0] for chunk in parts if chunk.choices[0].index == index]
        text = "".join(choice.delta.content or "" for choice in choices)
        assert text == whole.choices[index].message.content
        assert choices[0].delta.role == "assistant"
        *others, last_reason = [choice.finish_reason for choice in choices]
        assert (set(others), last_reason) == ({None}, whole.choices[index].finish_reason)


def test_without_beam_search_the_words_are_streamed_one_by_one(openai_client: openai.OpenAI) -> None:
    drawn: dict[str, Any] = {"temperature": 0.01, "seed": 1}
    whole = ask(openai_client, user(image()), **drawn).choices[0].message.content
    chunks = list(ask(openai_client, user(image()), stream=True, **drawn))
    deltas = [text for chunk in chunks if (text := chunk.choices[0].delta.content)]
    assert whole == STAR
    assert "".join(deltas) == whole
    assert len(deltas) > 3, deltas


def test_a_client_that_disconnects_ends_the_generation(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """This model generates until its client disconnects."""
    has_ended = threading.Event()

    def describe(_: Any, __: Any, has_left: Callable[[], bool], *, on_text: Callable[[str], None], **___: Any) -> None:
        on_text("a large pink")
        while not has_left():
            has_ended.wait(0.01)
        has_ended.set()

    monkeypatch.setattr(captioner, "describe", describe)
    answer = client.post("/v1/chat/completions", json={"messages": [user(image())], "stream": True}, buffered=False)
    events = iter(answer.response)
    assert b"a large pink" in next(events) + next(events)
    answer.close()
    assert has_ended.wait(30)


def test_a_caption_that_does_not_begin_with_the_sent_words_ends_the_stream_with_an_error(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def describe(*_: Any, on_text: Callable[[str], None], **__: Any) -> list[list[Caption]]:
        on_text("a large pink")
        return [[Caption("a small star", (0, 1), 1)]]

    monkeypatch.setattr(captioner, "describe", describe)
    answer = client.post("/v1/chat/completions", json={"messages": [user(image())], "stream": True})
    assert "small" not in answer.text
    assert "are not those of the caption" in answer.text


def test_an_error_after_the_first_words_is_the_last_event(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def describe(*_: Any, on_text: Callable[[str], None], **__: Any) -> None:
        on_text("a large pink")
        raise CaptionFailed("the model failed at this image")

    monkeypatch.setattr(captioner, "describe", describe)
    answer = client.post("/v1/chat/completions", json={"messages": [user(image())], "stream": True})
    *_, error, mark, rest = answer.text.split("\n\n")
    assert json.loads(error.removeprefix("data: "))["error"]["message"] == "the model failed at this image"
    assert (mark, rest) == ("data: [DONE]", "")


def test_a_stream_ends_with_done_and_has_no_usage_by_default(server: Server) -> None:
    body = {"messages": [user(image())], "stream": True}
    answer = requests.post(server.url + "/v1/chat/completions", json=body, timeout=60)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    *events, mark, rest = answer.text.split("\n\n")
    assert (mark, rest) == ("data: [DONE]", "")
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events)
