"""Published checkpoint layouts: the captioner's captions equal plain transformers'."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flaskapp.captioner import Captioner
from flaskapp.captioner.configuration import Configuration
from flaskapp.captioner.generation import GenerationSettings
from flaskapp.errors import CaptionerUnavailable, InvalidGeneration
from tests.captioner.layouts.broken import BROKEN, Broken
from tests.captioner.layouts.check import examine
from tests.captioner.layouts.plain import WAYS, Plain, sample_images
from tests.captioner.layouts.table import LAYOUTS, Layout

SEED = 0  # for checkpoints that sample
TYPED = "a picture of"  # prompt for checkpoints that need none
IMAGES = sample_images()


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Layout | Broken], Path]:
    """Return a function that writes a checkpoint once and returns its folder."""

    @cache
    def write(layout: Layout | Broken) -> Path:
        return layout.write(tmp_path_factory.mktemp("layouts") / layout.name)

    return write


def load(folder: Path) -> Captioner:
    captioner = Captioner()
    captioner.configure(Configuration(model=str(folder), deadline=300))
    captioner.load()
    return captioner


@dataclass(frozen=True)
class Pair:
    """One checkpoint loaded by the captioner and by plain transformers."""

    layout: Layout
    plain: Plain
    ours: Captioner

    def expected(self, settings: dict[str, Any], prompt: str | None) -> list[list[int]]:
        """Return the token ids of plain transformers' caption of each image."""
        return [self.plain.generate(image, settings, prompt, seed=SEED) for image in IMAGES]

    def check(self, settings: dict[str, Any], prompt: str | None) -> None:
        expected = self.expected(settings, prompt)
        drawn = {"seed": SEED} if self.plain.model.generation_config.do_sample else {}
        asked = GenerationSettings(**settings, **drawn, prompt=prompt)
        ours = self.ours.describe(IMAGES, asked)
        if drawn and settings.get("num_beams", 1) > 1:  # transformers draws more random numbers, for inactive beams
            assert self.ours.describe(IMAGES, asked) == ours
            return
        if self.layout.decoder != "generate":  # other decoders count prompts in different ways
            assert [list(caption.token_ids) for (caption,) in ours] == expected
        assert [caption.text for (caption,) in ours] == [self.plain.text(ids) for ids in expected]


def is_loadable(layout: Layout) -> bool:
    return layout.needs is None or find_spec(layout.needs) is not None


@pytest.fixture(scope="module", params=[layout.name for layout in LAYOUTS.values() if is_loadable(layout)])
def pair(request: pytest.FixtureRequest, written: Callable[[Layout], Path]) -> Iterator[Pair]:
    layout = LAYOUTS[request.param]
    folder = written(layout)
    captioner = load(folder)
    yield Pair(layout, Plain(folder), captioner)
    captioner.close()


@pytest.mark.parametrize("way", WAYS)
def test_captions_equal_plain_transformers(pair: Pair, way: str) -> None:
    pair.check(pair.plain.settings(way), pair.layout.prompt)


def test_prompted_captions_equal_plain_transformers_or_the_prompt_is_refused(pair: Pair) -> None:
    if pair.layout.takes_prompt:
        pair.check(pair.plain.settings("beams4"), pair.layout.prompt or TYPED)
        return
    with pytest.raises(InvalidGeneration, match="takes no text") as refusal:
        pair.ours.caption(IMAGES, GenerationSettings(prompt=TYPED))
    assert refusal.value.field == "prompt"


def test_a_single_image_gets_the_same_caption_as_in_a_batch(pair: Pair) -> None:
    drawn = {"seed": SEED} if pair.plain.model.generation_config.do_sample else {}
    settings = GenerationSettings(num_beams=2, max_new_tokens=8, prompt=pair.layout.prompt, **drawn)
    together = pair.ours.caption(IMAGES, settings)
    assert [pair.ours.caption([image], settings)[0] for image in IMAGES] == together


def test_the_decoder_is_the_expected_one(pair: Pair) -> None:
    assert pair.ours.decoder == pair.layout.decoder
    assert (pair.ours.decoder_reason is None) == (pair.ours.decoder == "fast")


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("instructblip", "'Describe this image'"),
        ("llava-untemplated", "'<image> Describe this image'"),
    ],
)
def test_a_model_that_needs_a_prompt_is_ready_and_refuses_requests_without_one(
    name: str, example: str, written: Callable[[Layout], Path]
) -> None:
    folder = written(LAYOUTS[name])
    captioner = load(folder)
    captioner.warm_up()
    assert captioner.problem is None
    with pytest.raises(InvalidGeneration, match=f"This model needs a prompt, such as {example}") as refusal:
        captioner.caption(IMAGES, GenerationSettings(max_new_tokens=8))
    assert refusal.value.field == "prompt"
    prompted = GenerationSettings(max_new_tokens=8, prompt=LAYOUTS[name].prompt)
    expected = captioner.caption(IMAGES, prompted)
    captioner.configure(Configuration(model=str(folder), deadline=300, defaults=prompted))
    assert captioner.caption(IMAGES, GenerationSettings()) == expected
    captioner.close()


# `python -m tests.captioner.layouts.check NAME` checks the other layouts, which takes minutes.
@pytest.mark.parametrize("name", ["vit-gpt2", "trocr-base", "blip-base"])
def test_random_captions_vary_end_and_have_no_near_ties(name: str, written: Callable[[Layout], Path]) -> None:
    assert examine(LAYOUTS[name], written(LAYOUTS[name]), silent=True) == []


@pytest.mark.parametrize(
    "layout", [each for each in LAYOUTS.values() if not is_loadable(each)], ids=lambda each: each.name
)
def test_a_checkpoint_that_needs_a_missing_package_is_refused_with_its_name(
    layout: Layout, written: Callable[[Layout], Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(CaptionerUnavailable) as refusal:
        load(written(layout))
    assert str(layout.needs) in f"{caplog.text} {refusal.value.__cause__}".lower()


@pytest.mark.parametrize("broken", [broken for broken in BROKEN.values() if broken.says], ids=lambda each: each.name)
def test_a_broken_checkpoint_is_refused_with_a_reason(
    broken: Broken, written: Callable[[Broken], Path], caplog: pytest.LogCaptureFixture
) -> None:
    assert broken.says is not None
    with caplog.at_level(logging.ERROR), pytest.raises(CaptionerUnavailable) as refusal:
        load(written(broken))
    assert broken.says in f"{caplog.text} {refusal.value.__cause__}"


@pytest.mark.parametrize(
    "broken", [broken for broken in BROKEN.values() if not broken.says], ids=lambda each: each.name
)
def test_a_checkpoint_without_optional_parts_is_loaded(broken: Broken, written: Callable[[Broken], Path]) -> None:
    folder = written(broken)
    captioner = load(folder)
    plain = Plain(folder)
    settings = plain.settings("greedy")
    expected = [[plain.text(plain.generate(image, settings))] for image in IMAGES]
    assert captioner.caption(IMAGES, GenerationSettings(**settings)) == expected
    captioner.close()
