"""A training in small: the whole recipe, on few scenes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.embedded import train
from flaskapp.captioner.embedded.scenes import scene_at


def test_a_short_training_makes_a_checkpoint_that_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--share", "0.001", "--out", str(tmp_path)])
    train.main()
    captioner = Captioner()
    captioner.configure(Configuration(model=str(tmp_path)))
    picture, _ = scene_at("held-out", 0)
    assert captioner.caption([np.asarray(picture)], GenerationSettings(max_length=4))


def test_training_sees_the_pixels_that_the_preprocessing_gives() -> None:
    square, _, _ = train._draw_scene(3)
    picture, _ = scene_at("train", 3)
    processor = train.ViTImageProcessorPil(size={"height": train.SIDE, "width": train.SIDE})
    expected = processor([picture], return_tensors="pt").pixel_values[0]
    assert torch.allclose(torch.from_numpy(square).float() / 127.5 - 1, expected, atol=1e-6)


def test_every_patch_starts_with_a_place_of_its_own() -> None:
    places = train.encode_positions(6, 128)
    assert places.shape == (36, 128)
    assert len({tuple(place.tolist()) for place in places}) == 36
    assert torch.cdist(places, places).fill_diagonal_(9).min() > 0.5


def test_a_caption_becomes_its_words_and_an_end() -> None:
    """Labels end with the end token; what pads them does not count."""
    captions = ["a small red star on a grey background", "a large red ring above a small red star on a red background"]
    tokenizer = train.train_tokenizer(captions)
    labels = train.to_labels(tokenizer, captions)
    assert labels.shape == (2, 14)
    assert labels[0, 8] == labels[1, 13] == tokenizer.eos_token_id
    assert (labels[0, 9:] == -100).all()
    assert tokenizer.decode(labels[1, :13]) == captions[1]
