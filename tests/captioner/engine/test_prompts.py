"""Prompts that a model cannot take: the client gets an error that names the prompt."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from flask import Flask
from PIL import Image

from flaskapp.captioner import Captioner, GenerationSettings
from flaskapp.captioner.checkpoints import hub
from flaskapp.captioner.checkpoints.load import load
from flaskapp.captioner.configuration import Configuration
from flaskapp.captioner.engine.engine import Engine
from flaskapp.captioner.generation import Generation
from flaskapp.errors import InvalidGeneration
from tests.api.compatible.images import data_url
from tests.api.test_caption import asset
from tests.captioner.layouts.chat import write_llava_for_text
from tests.captioner.layouts.plain import sample_images
from tests.captioner.layouts.table import LAYOUTS
from tests.conftest import assert_error

IMAGES = sample_images()[:2]
LONG = "a red star " * 130
LONGER = "a b " * 1000


@pytest.fixture(scope="module")
def captioner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Captioner]:
    """Load the layout that the test names."""
    folder = LAYOUTS[request.param].write(tmp_path_factory.mktemp("prompts") / request.param)
    captioner = Captioner()
    captioner.configure(Configuration(model=str(folder), deadline=300))
    captioner.load()
    yield captioner
    captioner.close()


@pytest.fixture(scope="module")
def florence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return LAYOUTS["florence2"].write(tmp_path_factory.mktemp("prompts") / "florence2")


def refusal_of(captioner: Captioner, prompt: str, number: int = 1, new: int = 5) -> InvalidGeneration:
    with pytest.raises(InvalidGeneration) as refusal:
        captioner.caption(IMAGES[:number], GenerationSettings(prompt=prompt, max_new_tokens=new))
    assert refusal.value.field == "prompt"
    return refusal.value


@pytest.mark.parametrize("captioner", ["florence2", "git", "blip2"], indirect=True)
@pytest.mark.parametrize("number", [1, 2])
def test_a_prompt_that_exceeds_the_positions_is_refused_with_the_most_tokens(
    captioner: Captioner, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        refusal = refusal_of(captioner, LONGER, number)
    assert "tokens, for this model and these settings" in str(refusal)
    assert caplog.text == ""
    most = int(str(refusal).split()[4])
    asked = GenerationSettings(prompt="a" + " a" * (most - 1), max_new_tokens=5)
    assert len(captioner.caption(IMAGES[:number], asked)) == number
    refusal_of(captioner, "a" + " a" * most, number)


@pytest.mark.parametrize("captioner", ["smolvlm"], indirect=True)
def test_the_tokens_of_the_caption_need_room_behind_the_prompt(captioner: Captioner) -> None:
    asked = GenerationSettings(prompt=LONG, max_new_tokens=5)
    assert len(captioner.caption(IMAGES[:1], asked)) == 1
    refusal_of(captioner, LONGER[:3900], new=1000)


@pytest.mark.parametrize(
    ("captioner", "prompt", "working"),
    [
        ("florence2", "<image>", "with '<CAPTION>'"),
        ("smolvlm", "What is <image> ?", "with 'Can you describe this image?'"),
        ("qwen2-vl", "<|image_pad|>", "with 'Can you describe this image?'"),
        ("blip2", "<image>", "without one"),
        ("llava-untemplated", "a star", "with '<image> Describe this image'"),
    ],
    indirect=["captioner"],
)
@pytest.mark.parametrize("number", [1, 2])
def test_a_prompt_with_which_the_model_fails_is_refused_with_one_that_works(
    captioner: Captioner, prompt: str, working: str, number: int
) -> None:
    refusal = refusal_of(captioner, prompt, number)
    assert str(refusal) == f"The model fails with this prompt, but not {working}."


@pytest.mark.parametrize(
    ("image", "arguments"),
    [("no image", ()), (Image.fromarray(IMAGES[0]), (("min_length", "ten"), ("max_new_tokens", 5)))],
    ids=["image", "setting"],
)
def test_other_failures_are_not_blamed_on_the_prompt(
    florence: Path, image: object, arguments: tuple[tuple[str, object], ...]
) -> None:
    engine = Engine(load(hub.find(str(florence), None), torch.float32), "fp32", torch.device("cpu"))
    with pytest.raises((TypeError, ValueError), match=r"image|'str'"):
        engine.generate([image], Generation(prompt="a red star", arguments=arguments))


@pytest.mark.parametrize(
    ("captioner", "start"),
    [("smolvlm", 0), ("qwen2-vl", 0), ("florence2", 1), ("git", 1)],
    indirect=["captioner"],
)
def test_the_tokens_of_a_prompt_are_counted(captioner: Captioner, start: int) -> None:
    def prompt_tokens(prompt: str) -> list[int]:
        described = captioner.describe(IMAGES, GenerationSettings(prompt=prompt, max_new_tokens=5))
        return [caption.prompt_tokens for (caption,) in described]

    once, again = prompt_tokens("red"), prompt_tokens("red red red")
    assert once[0] == once[1] > start
    assert again[0] - start >= 3 * (once[0] - start)


def test_a_chat_template_for_text_gets_the_image_s_token_and_the_prompt(tmp_path: Path) -> None:
    checkpoint = load(hub.find(str(write_llava_for_text(tmp_path / "llava")), None), torch.float32)
    ids = checkpoint.inputs.collate([Image.fromarray(IMAGES[0])], "a red star", ())["input_ids"][0]
    text = checkpoint.tokenizer.decode(ids)
    assert "a red star" in text
    assert "type" not in text
    assert "<image>" in text


@pytest.mark.parametrize("prompt", ["<image>", LONG], ids=["special", "long"])
def test_the_endpoints_name_the_prompt(make_app: Callable[..., Flask], florence: Path, prompt: str) -> None:
    client = make_app(CAPTIONER_MODEL=str(florence)).test_client()
    answer = client.post("/caption/", data={"data": asset("star.png"), "prompt": prompt})
    assert_error(answer, 422, "multipart", "prompt")
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": data_url("star.png")}}]
    for stream in (False, True):
        body = {"messages": [{"role": "user", "content": content}], "stream": stream}
        answer = client.post("/v1/chat/completions", json=body)
        assert (answer.status_code, answer.get_json()["error"]["param"]) == (400, "prompt")
