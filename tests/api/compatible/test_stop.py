"""Stop sequences end an answer, also in a stream. A warning names unsupported options."""

import itertools
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ollama
import openai
import pytest
from flask import Flask
from flask.testing import FlaskClient

from flaskapp.api.compatible import streaming
from flaskapp.api.compatible.stop import MAX_LENGTH, MAX_SEQUENCES, stable_prefix, truncate
from tests.api.compatible.images import CIRCLE_AND_DIAMOND, STAR, base64_of, file
from tests.api.compatible.test_ollama import ollama_client
from tests.api.compatible.test_openai import ask, image, openai_client, post, user
from tests.captioner.prompted import write_blip
from tests.conftest import ASSETS

__all__ = ["ollama_client", "openai_client"]  # fixtures

DRAWN = {"temperature": 0.01, "seed": 1}  # without beam search: streamed word by word


@pytest.mark.parametrize(
    ("stops", "expected"),
    [
        ((), "a pink star"),
        (("blue",), "a pink star"),
        ((" star",), "a pink"),
        (("a",), ""),
        (("star", "pink"), "a "),
        (("pink star", "in"), "a p"),  # "in" is complete first
        (("ink", "pink"), "a "),  # both are complete at once: neither is in the answer
    ],
)
def test_a_text_is_cut_before_the_sequence_that_is_complete_first(stops: Sequence[str], expected: str) -> None:
    assert truncate("a pink star", stops) == expected


def test_a_stop_sequence_in_the_repeated_prompt_does_not_count() -> None:
    prompt = "What is it? A photograph"
    caption = "what is it ? a photograph of a star"
    assert truncate(caption, ["it"], prompt) == truncate(caption, ["photograph"], prompt) == caption
    assert truncate(caption, [" a "], prompt) == "what is it ? a photograph of"
    assert truncate(f"{caption}\n{caption}", ["graph", " of"], prompt) == "what is it ? a photograph"
    assert truncate("a star", ["star"], prompt) == "a "  # a caption that does not repeat the prompt
    for end in range(len(caption) + 1):
        assert caption.startswith(stable_prefix(caption[:end], ["it", " of a star!"], prompt))


@pytest.mark.slow
def test_a_stop_sequence_ends_the_text_only_after_the_repeated_prompt(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    client = make_app(CAPTIONER_MODEL=str(write_blip(tmp_path))).test_client()
    asked = user("a photograph of", image())
    whole = post(client, asked).get_json()["choices"][0]["message"]["content"]
    assert whole.startswith("a photograph of")
    for stream in (False, True):
        answer = post(client, asked, stop=[" photograph of"], stream=stream)
        if stream:
            deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in answer.text.split("\n\n")[:-2]]
            assert "".join(delta.get("content", "") for delta in deltas).startswith("a photograph of")
        else:
            assert answer.get_json()["choices"][0]["message"]["content"].startswith("a photograph of")


def test_the_sendable_text_grows_up_to_the_cut() -> None:
    texts = ["".join(letters) for letters in itertools.product("ab", repeat=6)]
    sequences = ["a", "b", "ab", "ba", "aab", "bab", "abba"]
    for text, stops in itertools.product(texts, itertools.combinations(sequences, 2)):
        so_far = [stable_prefix(text[:end], stops) for end in range(len(text) + 1)]
        for earlier, later in itertools.pairwise([*so_far, truncate(text, stops)]):
            assert later.startswith(earlier), (text, stops)
        if truncate(text, stops) == text:
            assert len(text) - len(stable_prefix(text, stops)) < max(map(len, stops)), (
                "only a possible beginning of a stop sequence is held back"
            )


def test_a_stop_sequence_that_does_not_occur_delays_no_word(client: FlaskClient) -> None:
    answer = post(client, user(image()), stop="zebra", stream=True, **DRAWN)
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in answer.text.split("\n\n")[:-2]]
    words = [delta["content"] for delta in deltas if delta.get("content")]
    assert "".join(words) == STAR
    assert len(words) > 5


def test_a_stream_is_answered_when_no_thread_can_start(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(streaming.threading, "Thread", NoThread)
    answer = post(client, user(image()), stream=True)
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in answer.text.split("\n\n")[:-2]]
    assert "".join(delta.get("content", "") for delta in deltas) == STAR


def test_ignored_system_messages_are_named(client: FlaskClient) -> None:
    messages = [{"role": "system", "content": "Answer in French."}, user(image())]
    for address in ("/v1/chat/completions", "/api/chat"):
        if address == "/api/chat":
            messages[1] = {"role": "user", "images": [base64_of("star.png")]}
        answer = client.post(address, json={"messages": messages, "stream": False}).get_json()
        assert answer["warning"] == "ignored: system messages"


@pytest.mark.parametrize("stop", [" on", [" on"], ["zebra", " on a", ""]])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("options", [{}, DRAWN])
def test_openai_s_clients_get_the_text_before_the_stop_sequence(
    openai_client: openai.OpenAI, stop: Any, stream: bool, options: dict[str, Any]
) -> None:
    expected = ("a large pink star", "stop")
    answer = ask(openai_client, user(image()), stop=stop, stream=stream, **options)
    if not stream:
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == expected
        return
    choices = [chunk.choices[0] for chunk in answer]
    assert ("".join(each.delta.content or "" for each in choices), choices[-1].finish_reason) == expected


def test_a_stop_sequence_that_spans_deltas_is_not_sent_in_part(client: FlaskClient) -> None:
    answer = post(client, user(image()), stop="pink star on", stream=True, **DRAWN)
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in answer.text.split("\n\n")[:-2]]
    assert "".join(delta.get("content", "") for delta in deltas) == "a large "
    whole = post(client, user(image()), stop="pink star above", stream=True, **DRAWN)
    deltas = [json.loads(event[6:])["choices"][0]["delta"] for event in whole.text.split("\n\n")[:-2]]
    assert "".join(delta.get("content", "") for delta in deltas) == STAR


def test_a_stop_sequence_takes_precedence_over_the_length_in_the_finish_reason(openai_client: openai.OpenAI) -> None:
    for stop, expected in ((" pink", ("a large", "stop")), (" on", ("a large pink", "length"))):
        (choice,) = ask(openai_client, user(image()), max_tokens=3, stop=stop).choices
        assert (choice.message.content, choice.finish_reason) == expected


def test_each_choice_is_cut(openai_client: openai.OpenAI) -> None:
    whole = ask(openai_client, user(image()), n=3)
    answer = ask(openai_client, user(image()), n=3, stop=" on")
    texts = [choice.message.content for choice in whole.choices]
    assert [choice.message.content for choice in answer.choices] == [text.split(" on")[0] for text in texts]


def test_a_stop_sequence_ends_the_joined_captions_of_several_images(openai_client: openai.OpenAI) -> None:
    images = user(image(), image("circle_and_diamond.png"))
    assert ask(openai_client, images, stop="\n").choices[0].message.content == STAR
    text = ask(openai_client, images, stop=" of a small").choices[0].message.content
    assert text == f"{STAR}\n{CIRCLE_AND_DIAMOND.split(' of a small')[0]}"


@pytest.mark.parametrize("options", [{}, DRAWN])
def test_ollama_s_clients_get_the_text_before_the_stop_sequence(
    ollama_client: ollama.Client, options: dict[str, Any]
) -> None:
    options = options | {"stop": [" on", "zebra"]}
    answer = ollama_client.generate("any", images=[file("star.png")], options=options)
    assert (answer.response, answer.done_reason) == ("a large pink star", "stop")
    *parts, last = ollama_client.generate("any", images=[ASSETS / "star.png"], options=options, stream=True)
    assert ("".join(part.response for part in parts), last.done_reason) == ("a large pink star", "stop")
    message = {"role": "user", "content": "", "images": [file("star.png")]}
    assert ollama_client.chat("any", [message], options=options).message.content == "a large pink star"


def test_photoprism_s_options_take_a_stop_sequence(client: FlaskClient) -> None:
    body = {"images": [base64_of("star.png")], "options": {"stop": [" on"]}}
    answer = client.post("/api/v1/vision/caption", json=body)
    assert answer.get_json()["result"]["caption"]["text"] == "a large pink star"


@pytest.mark.parametrize(
    ("stop", "param"),
    [
        (5, "stop"),
        ({"a": 1}, "stop"),
        (["a", 5], "stop.1"),
        (["a"] * (MAX_SEQUENCES + 1), "stop"),
        (["a" * (MAX_LENGTH + 1)], "stop.0"),
    ],
)
def test_an_invalid_stop_sequence_is_refused_and_named(client: FlaskClient, stop: Any, param: str) -> None:
    answer = post(client, user(image()), stop=stop)
    assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, param)


TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object", "properties": {}}}}


def test_unsupported_openai_options_are_named(openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "response_format": {"type": "json_object"},
        "tools": [TOOL],
        "logprobs": True,
        "frequency_penalty": 0.5,
        "user": "ada",
    }
    warning = "ignored: response_format, tools, logprobs, frequency_penalty"
    assert ask(openai_client, user(image()), **asked).warning == warning
    chunks = list(ask(openai_client, user(image()), stream=True, **asked))
    assert [chunk.warning for chunk in chunks if hasattr(chunk, "warning")] == [warning]
    both = ask(openai_client, user("Describe it.", image()), tools=[TOOL]).warning
    assert both == "the model takes no text: the prompt was ignored; ignored: tools"


def test_unsupported_options_with_neutral_values_are_not_named(openai_client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "response_format": {"type": "text"},
        "logprobs": False,
        "logit_bias": {},
        "presence_penalty": 0.0,
        "modalities": ["text"],
    }
    assert not hasattr(ask(openai_client, user(image()), **asked), "warning")


def test_unsupported_ollama_options_are_named(client: FlaskClient) -> None:
    body = {"images": [base64_of("star.png")], "stream": False, "format": "json"}
    answer = client.post("/api/generate", json=body | {"options": {"repeat_penalty": 1.1, "num_ctx": 4096}})
    assert answer.get_json()["warning"] == "ignored: format, options.repeat_penalty"
    streamed = client.post("/api/generate", json=body | {"stream": True})
    assert json.loads(streamed.text.splitlines()[-1])["warning"] == "ignored: format"
    message = {"role": "user", "content": "", "images": body["images"]}
    answer = client.post("/api/chat", json={"messages": [message], "stream": False, "tools": [TOOL], "think": False})
    assert answer.get_json()["warning"] == "ignored: tools"
