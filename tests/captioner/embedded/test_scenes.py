import numpy as np
import pytest
from PIL import Image
from transformers import GPT2Tokenizer

from flaskapp.captioner.checkpoints.hub import EMBEDDED_FOLDER
from flaskapp.captioner.embedded.scenes import CLEARLY, COLOURS, RANDOM_STREAMS, SHAPES, Scene, imagine, scene_at
from tests.conftest import ASSETS


def scenes(count: int) -> list[Scene]:
    return [imagine(np.random.default_rng((RANDOM_STREAMS["train"], index))) for index in range(count)]


def test_a_scene_is_the_same_every_time() -> None:
    (one, caption), (same, same_caption) = scene_at("held-out", 5), scene_at("held-out", 5)
    assert caption == same_caption
    assert one.tobytes() == same.tobytes()


def test_no_held_out_scene_is_a_training_scene() -> None:
    trained = {scene_at("train", index)[0].tobytes() for index in range(50)}
    assert not trained & {scene_at("held-out", index)[0].tobytes() for index in range(50)}


def test_every_colour_and_shape_occurs() -> None:
    words = " ".join(scene.caption for scene in scenes(300)).split()
    assert {*COLOURS, *SHAPES, "large", "small", "above", "below", "left", "right", "an"} <= set(words)


def test_a_caption_fits_the_default_length() -> None:
    """It has at most 16 tokens with start and end, because each word is one token."""
    tokenizer = GPT2Tokenizer.from_pretrained(EMBEDDED_FOLDER)
    for scene in scenes(300):
        words = scene.caption.split()
        assert len(tokenizer(scene.caption).input_ids) == len(words) <= 14


def test_two_things_are_clearly_apart_in_the_captioned_direction() -> None:
    for scene in scenes(300):
        if len(scene.things) == 1:
            continue
        first, second = scene.things
        right, down = (second.x - first.x) / scene.width, (second.y - first.y) / scene.height
        relation = next(word for word in ("above", "below", "left of", "right of") if f" {word} a " in scene.caption)
        along, aside = (down, right) if relation in ("above", "below") else (right, down)
        assert abs(along) > CLEARLY * abs(aside), scene
        assert (along > 0) == (relation in ("above", "left of")), scene


def test_a_caption_names_the_larger_thing_first_or_else_the_upper_or_left_one() -> None:
    for scene in scenes(300):
        if len(scene.things) == 2 and scene.things[0].size == scene.things[1].size:
            assert " below " not in scene.caption
            assert " right of " not in scene.caption
        elif len(scene.things) == 2:
            assert scene.things[0].size == "large"


def test_things_are_inside_the_image_and_do_not_touch() -> None:
    for scene in scenes(300):
        for thing in scene.things:
            assert thing.extent / 2 < thing.x < scene.width - thing.extent / 2
            assert thing.extent / 2 < thing.y < scene.height - thing.extent / 2
        if len(scene.things) == 2:
            one, other = scene.things
            reach = (one.extent + other.extent) / 2
            assert max(abs(one.x - other.x), abs(one.y - other.y)) > reach


def test_images_have_the_captioned_colours() -> None:
    for index, scene in enumerate(scenes(40)):
        picture = np.asarray(scene_at("train", index)[0])
        assert picture.shape == (scene.height, scene.width, 3)
        usual = np.median(picture, axis=(0, 1))  # most of an image is its background
        nearest = min(COLOURS, key=lambda name: np.abs(usual - COLOURS[name]).sum())
        assert nearest == scene.background, f"scene {index}"


@pytest.mark.parametrize(("name", "index"), [("star.png", 57), ("circle_and_diamond.png", 31)])
def test_the_sample_images_are_held_out_scenes(name: str, index: int) -> None:
    with Image.open(ASSETS / name) as image:
        assert image.tobytes() == scene_at("held-out", index)[0].tobytes()
