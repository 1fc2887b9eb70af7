"""Parity: token ids equal those of transformers' `generate` with the same settings."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.checkpoints.hub import EMBEDDED, find
from flaskapp.captioner.checkpoints.load import LoadedCheckpoint, load
from flaskapp.captioner.embedded.scenes import scene_at
from flaskapp.captioner.engine.engine import Engine
from flaskapp.captioner.engine.search import Search
from flaskapp.captioner.generation import COURSE
from tests.captioner import full_size

SCENES = 100

GRID: list[dict[str, Any]] = [
    {},
    {"num_beams": 1},
    {"num_beams": 1, "repetition_penalty": 1.5, "max_length": 24, "min_length": 14},
    {"num_beams": 1, "no_repeat_ngram_size": 2, "min_length": 20, "max_length": 24},
    {"num_beams": 2, "max_length": 5},
    {"num_beams": 3, "num_return_sequences": 3, "length_penalty": 0.0},
    {"num_beams": 4, "num_return_sequences": 2, "length_penalty": -2.0, "early_stopping": True},
    {"num_beams": 4, "num_return_sequences": 4, "length_penalty": 2.0, "early_stopping": "never", "max_length": 20},
    {"num_beams": 4, "length_penalty": -1.0, "early_stopping": "never"},
    {"num_beams": 5, "num_return_sequences": 5, "early_stopping": True, "min_length": 12},
    {"num_beams": 6, "no_repeat_ngram_size": 1, "num_return_sequences": 2},
    {"num_beams": 6, "no_repeat_ngram_size": 3, "min_length": 25, "max_length": 30},
    {"num_beams": 8, "num_return_sequences": 8, "repetition_penalty": 1.3},
    {"num_beams": 8, "repetition_penalty": 0.7, "max_length": 30},
    {"num_beams": 16, "num_return_sequences": 16, "length_penalty": 0.5, "max_length": 13},
]


@pytest.fixture(scope="module")
def checkpoint() -> LoadedCheckpoint:
    return load(find(EMBEDDED, None), torch.float32)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """An engine on its own checkpoint, because it changes the layout of the weights."""
    return Engine(load(find(EMBEDDED, None), torch.float32), "fp32", torch.device("cpu"), COURSE)


@pytest.fixture(scope="module")
def pixels(checkpoint: LoadedCheckpoint) -> Tensor:
    scenes = [np.asarray(scene_at("held-out", index)[0]) for index in range(SCENES)]
    return checkpoint.inputs.processor(scenes, return_tensors="pt", input_data_format="channels_last").pixel_values


def search(engine: Engine, pixels: Tensor, settings: list[GenerationSettings]) -> list[list[list[int]]]:
    searches = engine.add(list(pixels), [engine.resolve(each) for each in settings])
    while engine.running:
        engine.step()
    return tokens_of(searches)


def tokens_of(searches: list[Search]) -> list[list[list[int]]]:
    return [[result.token_ids for result in search.results] for search in searches]


def generate(checkpoint: LoadedCheckpoint, pixels: Tensor, settings: GenerationSettings) -> list[list[list[int]]]:
    """Return the token ids of `generate` for each image, without padding."""
    with torch.inference_mode():
        rows = checkpoint.model.generate(pixels, **settings.over(COURSE).given()).tolist()
    sequences = iter([_without_padding(row, checkpoint.model.generation_config.eos_token_id) for row in rows])
    return [list(islice(sequences, settings.num_return_sequences or 1)) for _ in pixels]


def _without_padding(row: list[int], end: int) -> list[int]:
    return row[: row.index(end, 1) + 1] if end in row[1:] else row


@pytest.mark.parametrize("values", GRID, ids=str)
def test_each_setting_gives_the_same_tokens_as_generate(
    engine: Engine, checkpoint: LoadedCheckpoint, pixels: Tensor, values: dict[str, Any]
) -> None:
    settings = GenerationSettings(**values)
    for batch in pixels.split(40):
        assert search(engine, batch, [settings] * len(batch)) == generate(checkpoint, batch, settings)


def test_images_with_different_settings_in_a_batch_are_independent(engine: Engine, pixels: Tensor) -> None:
    settings = [GenerationSettings(**values) for values in GRID]
    together = search(engine, pixels[: len(GRID)], settings)
    alone = [search(engine, image[None], [each])[0] for image, each in zip(pixels, settings, strict=False)]
    assert together == alone


def test_images_that_join_a_running_batch_do_not_change_its_captions(engine: Engine, pixels: Tensor) -> None:
    settings = [GenerationSettings(num_beams=2 + index % 3, max_length=10 + index) for index in range(8)]
    alone = [search(engine, image[None], [each])[0] for image, each in zip(pixels, settings, strict=False)]
    searches = []
    for image, each in zip(pixels, settings, strict=False):
        searches += engine.add([image], [engine.resolve(each)])
        engine.step()
    while engine.running:
        engine.step()
    assert tokens_of(searches) == alone


def test_images_added_before_the_first_step_advance_together(engine: Engine, pixels: Tensor) -> None:
    settings = [GenerationSettings(num_beams=2 + index % 2) for index in range(6)]
    together = search(engine, pixels[:6], settings)
    searches = []
    for image, each in zip(pixels, settings, strict=False):
        searches += engine.add([image], [engine.resolve(each)])
    engine.drop(engine.add([pixels[6]], [engine.resolve(settings[0])])[0])
    assert engine.running == 6
    engine.step()
    assert [group.cache.images for group in engine._groups] == [3, 3]
    while engine.running:
        engine.step()
    assert tokens_of(searches) == together


@pytest.mark.parametrize(("images", "calls"), [(0, 5), (2, 3), (5, 1)])
def test_images_that_are_encoded_together_give_the_same_tokens(
    engine: Engine, pixels: Tensor, images: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [GenerationSettings(max_length=12)]
    expected = [search(engine, image[None], settings)[0] for image in pixels[:5]]
    seen: list[None] = []
    monkeypatch.setattr(engine, "_max_encoder_pixels", images * pixels[0, 0].numel())
    together = engine.add(list(pixels[:5]), [engine.resolve(settings[0])] * 5, lambda: seen.append(None))
    while engine.running:
        engine.step()
    assert tokens_of(together) == expected
    assert len(seen) == calls


def test_a_dropped_search_does_not_change_the_others(engine: Engine, pixels: Tensor) -> None:
    whole = search(engine, pixels[:5], [GenerationSettings()] * 5)
    searches = engine.add(list(pixels[:5]), [engine.resolve(GenerationSettings())] * 5)
    engine.step()
    engine.drop(searches[1])
    engine.step()
    engine.drop(searches[4])
    while engine.running:
        engine.step()
    kept = [0, 2, 3]
    assert tokens_of([searches[place] for place in kept]) == [whole[place] for place in kept]


@pytest.fixture(scope="module")
def large_checkpoint() -> LoadedCheckpoint:
    return full_size.load()


@pytest.fixture(scope="module")
def large_engine() -> Engine:
    """An engine on its own checkpoint, with the same weights."""
    return Engine(full_size.load(), "fp32", torch.device("cpu"), COURSE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values", [{}, {"num_beams": 1, "max_length": 24}, {"num_beams": 4, "no_repeat_ngram_size": 2}]
)
def test_a_full_size_model_gives_the_same_tokens_as_generate(
    large_engine: Engine, large_checkpoint: LoadedCheckpoint, values: dict[str, Any]
) -> None:
    """With random weights and full-length captions, the candidates' scores are much closer than a trained model's."""
    settings = GenerationSettings(min_length=16, **values)
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, 224, 224)
    assert search(large_engine, pixels, [settings] * 2) == generate(large_checkpoint, pixels, settings)
