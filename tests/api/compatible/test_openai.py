"""OpenAI's chat completions and models, called by OpenAI's own client and by other clients of its API."""

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import requests
from flask import Flask
from flask.testing import FlaskClient
from huggingface_hub import InferenceClient
from PIL import Image

from tests.api.compatible.images import CIRCLE_AND_DIAMOND, STAR, base64_of, data_url
from tests.captioner.prompted import write_blip
from tests.conftest import ASSETS, Server, clean_environment


@pytest.fixture
def openai_client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none is needed", max_retries=0, timeout=60) as client:
        yield client


def user(*parts: Any) -> dict[str, Any]:
    """Return a user's message: strings become its text parts, other values are its parts."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def image(name: str = "star.png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(name), "detail": "low"}}


def ask(client: openai.OpenAI, *messages: Any, **options: Any) -> Any:
    return client.chat.completions.create(model="gpt-5", messages=list(messages), **options)


def post(client: FlaskClient, *messages: Any, **options: Any) -> Any:
    return client.post("/v1/chat/completions", json={"messages": messages, **options})


def content(answer: Any) -> str:
    return str(answer.get_json()["choices"][0]["message"]["content"])


@pytest.mark.parametrize("parts", [("What is this?", image()), (image(), "What is this?"), (image(),)])
def test_an_image_gets_its_caption_before_or_after_the_text_or_without_one(
    openai_client: openai.OpenAI, parts: Any
) -> None:
    answer = ask(openai_client, user(*parts))
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "embedded"
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert (choice.message.role, choice.message.content) == ("assistant", STAR)
    assert answer.usage.completion_tokens > 5
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    warning = "the model takes no text: the prompt was ignored" if len(parts) > 1 else None
    assert getattr(answer, "warning", None) == warning


def test_several_images_of_a_message_get_a_line_each(openai_client: openai.OpenAI) -> None:
    answer = ask(openai_client, user(image(), image("circle_and_diamond.png")))
    assert answer.choices[0].message.content == f"{STAR}\n{CIRCLE_AND_DIAMOND}"


def test_a_conversation_describes_its_last_images(openai_client: openai.OpenAI) -> None:
    answer = ask(
        openai_client,
        {"role": "system", "content": "You describe images."},
        user("What is this?", image()),
        {"role": "assistant", "content": STAR},
        user("And this?", image("circle_and_diamond.png")),
        {"role": "assistant", "content": None, "tool_calls": []},
        user("Say it again."),
    )
    assert answer.choices[0].message.content == CIRCLE_AND_DIAMOND


def test_several_choices_are_the_best_captions(openai_client: openai.OpenAI, server: Server) -> None:
    answer = ask(openai_client, user(image()), n=3)
    config = json.dumps({"num_return_sequences": 3, "num_beams": 8})
    files = {"data": (ASSETS / "star.png").read_bytes()}
    ours = requests.post(server.url + "/caption/", files=files, data={"config": config}, timeout=60).json()
    assert [choice.message.content for choice in answer.choices] == ours["results"][0]["captions"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_truncated_caption_has_the_finish_reason_length(openai_client: openai.OpenAI, name: str) -> None:
    answer = ask(openai_client, user(image()), **{name: 3})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3
    assert STAR.startswith(answer.choices[0].message.content)


def test_max_tokens_is_capped_at_the_model_s_positions(openai_client: openai.OpenAI) -> None:
    assert ask(openai_client, user(image()), max_tokens=100_000).choices[0].message.content == STAR


def test_a_temperature_samples_and_a_seed_makes_it_repeatable(openai_client: openai.OpenAI) -> None:
    drawn = {
        seed: {ask(openai_client, user(image()), temperature=5, seed=seed).choices[0].message.content for _ in range(2)}
        for seed in (1, 2, -3, 10**30)
    }
    assert all(len(texts) == 1 for texts in drawn.values()), drawn
    assert len({text for texts in drawn.values() for text in texts}) > 1, drawn
    assert ask(openai_client, user(image()), temperature=0, top_p=0.5, seed=1).choices[0].message.content == STAR


@pytest.mark.parametrize(
    "url",
    [
        base64_of("star.png"),
        base64_of("star.png").rstrip("="),
        f"data:;base64,{base64_of('star.png')}",
        f"data:image/jpeg;base64,{base64_of('star.png')}",
    ],
    ids=["base64 alone", "without padding", "no type", "another type"],
)
@pytest.mark.parametrize("wrap", [lambda url: url, lambda url: {"url": url}], ids=["bare", "in an object"])
def test_an_image_url_has_every_form_that_clients_send(
    client: FlaskClient, url: str, wrap: Callable[[str], Any]
) -> None:
    assert content(post(client, user({"type": "image_url", "image_url": wrap(url)}))) == STAR


def test_unknown_members_are_ignored(client: FlaskClient) -> None:
    others = {"tools": [], "response_format": {"type": "text"}, "stop": ["\n"], "user": "ada", "logit_bias": None}
    answer = post(client, user(image()) | {"name": "ada"}, stream_options={"include_obfuscation": False}, **others)
    assert content(answer) == STAR


def test_json_is_read_with_any_content_type(client: FlaskClient) -> None:
    body = json.dumps({"messages": [user(image())]})
    answer = client.post("/v1/chat/completions", data=body, content_type="application/x-www-form-urlencoded")
    assert content(answer) == STAR


@pytest.mark.slow
def test_the_prompt_reaches_a_model_that_takes_text(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    client = make_app(CAPTIONER_MODEL=str(write_blip(tmp_path))).test_client()
    prompt = "a photograph of"
    answer = post(client, user(prompt, image()))
    ours = client.post(
        "/caption/", data={"data": (ASSETS / "star.png").open("rb"), "config": json.dumps({"prompt": prompt})}
    )
    assert content(answer) == ours.get_json()["caption"] != content(post(client, user(image())))
    assert "warning" not in answer.get_json()
    with_text, without = (each.get_json()["usage"]["prompt_tokens"] for each in (answer, post(client, user(image()))))
    assert with_text > without
    too_long = post(client, user("a " * 3000, image()))
    assert too_long.status_code == 400
    assert too_long.get_json()["error"]["param"] == "prompt"


@pytest.mark.parametrize(
    ("content", "param"),
    [([{"type": "text", "text": "a\ud800b"}], "messages.0.content.0.text"), ("a\0b", "messages.0.content")],
    ids=["a part", "a string"],
)
def test_invalid_text_is_refused_and_named(client: FlaskClient, content: Any, param: str) -> None:
    answer = post(client, {"role": "user", "content": content}, user(image()))
    assert answer.status_code == 400
    error = answer.get_json()["error"]
    assert (error["param"], error["message"]) == (param, f"{param}: Not valid text.")


def test_the_model_is_listed_and_an_unknown_one_is_not_found(openai_client: openai.OpenAI) -> None:
    (model,) = openai_client.models.list().data
    assert (model.id, model.object) == ("embedded", "model")
    assert openai_client.models.retrieve("embedded") == model
    with pytest.raises(openai.NotFoundError, match="this server's model is embedded"):
        openai_client.models.retrieve("somebody/another")


WRONG: dict[str, tuple[dict[str, Any], str | None]] = {
    "no messages": ({}, "messages"),
    "an empty list": ({"messages": []}, "messages"),
    "text alone": ({"messages": [{"role": "user", "content": "hello"}]}, "messages"),
    "no image": ({"messages": [user("hello")]}, "messages"),
    "a message that is none": ({"messages": ["hello"]}, "messages.0"),
    "a part that is none": ({"messages": [{"role": "user", "content": [5]}]}, "messages.0.content.0"),
    "a number": ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    "a part of another type": ({"messages": [user({"type": "input_audio"})]}, "messages.0.content.0"),
    "an image without its address": (
        {"messages": [user({"type": "image_url"})]},
        "messages.0.content.0.image_url",
    ),
    "an address": (
        {"messages": [user({"type": "image_url", "image_url": {"url": "http://127.0.0.1/cat.jpg"}})]},
        "messages.0.content.0.image_url.url",
    ),
    "a file": (
        {"messages": [user({"type": "image_url", "image_url": "file:///etc/passwd"})]},
        "messages.0.content.0.image_url",
    ),
    "no base64": (
        {"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}})]},
        "messages.0.content.0.image_url.url",
    ),
    "no picture": (
        {"messages": [user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})]},
        "messages.0.content.0.image_url.url",
    ),
    "many images": ({"messages": [user(*[image()] * 33)]}, "messages.0.content.32.image_url.url"),
    "too many choices": ({"messages": [user(image())], "n": 33}, "n"),
    "a temperature below 0": ({"messages": [user(image())], "temperature": -1}, "temperature"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_have_openai_s_shape(openai_client: openai.OpenAI, case: str) -> None:
    body, param = WRONG[case]
    with pytest.raises(openai.BadRequestError) as caught:
        openai_client.chat.completions.create(**{"model": "any", "messages": openai.omit} | body)
    error = caught.value
    assert isinstance(error.body, dict)
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert (error.type, error.param) == ("invalid_request_error", param)
    assert len(error.body["message"]) > 10


def test_a_truncated_image_is_named(client: FlaskClient) -> None:
    cut = base64_of("star.png")[:400]
    answer = post(client, user(image(), {"type": "image_url", "image_url": {"url": cut}}))
    assert answer.status_code == 400
    assert answer.get_json()["error"]["param"] == "messages.0.content.1.image_url.url"


def test_a_too_narrow_image_is_named(client: FlaskClient) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1000)).save(buffer, "PNG")
    narrow = {"type": "image_url", "image_url": {"url": base64.b64encode(buffer.getvalue()).decode()}}
    answer = post(client, user(image(), narrow))
    assert answer.status_code == 400
    assert answer.get_json()["error"]["param"] == "messages.0.content.1.image_url.url"


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b'{"messages": NaN}', b"\xff", b"", b"9" * 5000])
def test_a_body_that_is_no_json_object_is_a_bad_request(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/v1/chat/completions", data=body)
    assert answer.status_code == 400
    assert answer.get_json()["error"]["type"] == "invalid_request_error"


def test_without_a_model_the_error_has_a_retry_after(make_app: Callable[..., Flask], tmp_path: Path) -> None:
    client = make_app(CAPTIONER_MODEL=str(tmp_path / "missing")).test_client()
    answer = post(client, user(image()))
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert answer.get_json()["error"]["type"] == "server_error"


@pytest.mark.parametrize("stream", [False, True])
def test_hugging_face_s_client_works(server: Server, stream: bool) -> None:
    client = InferenceClient(base_url=server.url + "/v1", api_key="none is needed", timeout=60)
    messages = [user("Describe this image in one sentence.", image())]
    answer = client.chat_completion(messages, max_tokens=30, stream=stream)
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer)
    else:
        text = answer.choices[0].message.content
    assert text == STAR


def test_the_llm_command_works(server: Server, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: flaskapp\n  model_name: embedded\n  api_base: {server.url}/v1\n  vision: true\n"
    )
    command = [Path(sys.executable).with_name("llm"), "-m", "flaskapp", "-a", ASSETS / "star.png", "Describe it"]
    environment = clean_environment() | {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none is needed"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.stdout.strip() == STAR, ended.stderr
