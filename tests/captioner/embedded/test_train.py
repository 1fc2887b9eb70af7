"""The whole training recipe on few scenes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.embedded import train
from flaskapp.captioner.embedded.scenes import Scene, Thing, scene_at


def test_a_short_training_writes_a_checkpoint_that_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train", "--share", "0.001", "--out", str(tmp_path)])
    train.main()
    captioner = Captioner()
    captioner.configure(Configuration(model=str(tmp_path)))
    picture, _ = scene_at("held-out", 0)
    assert captioner.caption([np.asarray(picture)], GenerationSettings(max_length=4))


def test_training_uses_the_pixels_of_the_preprocessing() -> None:
    square, _, _ = train._draw_scene(3)
    picture, _ = scene_at("train", 3)
    processor = train.ViTImageProcessorPil(size={"height": train.SIDE, "width": train.SIDE})
    expected = processor([picture], return_tensors="pt").pixel_values[0]
    assert torch.allclose(torch.from_numpy(square).float() / 127.5 - 1, expected, atol=1e-6)


def test_each_patch_is_labelled_with_its_thing_and_relation() -> None:
    star = Thing("large", "red", "star", x=24, y=60, extent=40, angle=0)  # in the left half of 192 x 96 pixels
    ring = Thing("small", "blue", "ring", x=150, y=48, extent=20, angle=0)
    labels = train.label_patches(Scene(192, 96, "white", "plain", (star, ring))).reshape(6, 6, 4)
    words = [[[names[number] for names, number in zip(train.PATCH_LABELS, patch, strict=True)] for patch in row]
             for row in labels]  # fmt: skip
    assert words[3][0] == ["large", "red", "star", "left of"]
    assert words[2][4] == words[3][4] == ["small", "blue", "ring", "right of"]
    assert words[0][0] == words[5][5] == ["", "", "", ""]
    assert (labels[..., 0] == 1).sum() == 3, "24 ± 20 of 192 by 60 ± 20 of 96 covers the centres of three patches"


def test_the_patch_loss_is_small_for_right_labels_only() -> None:
    labels = torch.tensor([[[1, 2, 3, 4], [0, 0, 0, 0]]], dtype=torch.uint8)
    sizes = [len(names) for names in train.PATCH_LABELS]
    right = torch.cat([torch.nn.functional.one_hot(labels[..., i].long(), size) for i, size in enumerate(sizes)], 2)
    assert train.patch_loss(20.0 * right, labels) < 1e-3
    assert train.patch_loss(20.0 * right.roll(1, 2), labels) > 10


def test_every_patch_has_its_own_initial_position_embedding() -> None:
    places = train.encode_positions(6, 128)
    assert places.shape == (36, 128)
    assert len({tuple(place.tolist()) for place in places}) == 36
    assert torch.cdist(places, places).fill_diagonal_(9).min() > 0.5


def test_a_caption_becomes_its_tokens_and_an_end_token() -> None:
    """Labels end with the end token, and padding does not count."""
    captions = ["a small red star on a grey background", "a large red ring above a small red star on a red background"]
    tokenizer = train.train_tokenizer(captions)
    labels = train.to_labels(tokenizer, captions)
    assert labels.shape == (2, 14)
    assert labels[0, 8] == labels[1, 13] == tokenizer.eos_token_id
    assert (labels[0, 9:] == -100).all()
    assert tokenizer.decode(labels[1, :13]) == captions[1]
