"""The captioner on the embedded model, against transformers called directly."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Tokenizer, VisionEncoderDecoderModel, ViTImageProcessorPil

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.checkpoints.hub import EMBEDDED_FOLDER
from flaskapp.captioner.embedded.scenes import scene_at
from flaskapp.errors import CaptionerUnavailable, InvalidGeneration
from tests.polling import wait_until


@pytest.fixture(scope="module")
def captioner() -> Captioner:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded", max_batch=4))
    captioner.load()
    return captioner


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [np.asarray(scene_at("held-out", index)[0]) for index in range(10)]


def by_hand(pictures: list[np.ndarray], **arguments: object) -> list[str]:
    model = VisionEncoderDecoderModel.from_pretrained(EMBEDDED_FOLDER, dtype=torch.float32)
    pixels = ViTImageProcessorPil.from_pretrained(EMBEDDED_FOLDER)(pictures, return_tensors="pt").pixel_values
    tokens = model.generate(pixels, **arguments)
    return GPT2Tokenizer.from_pretrained(EMBEDDED_FOLDER).batch_decode(tokens, skip_special_tokens=True)


def test_captions_with_the_course_s_settings_equal_generate_s(captioner: Captioner, pictures: list[np.ndarray]) -> None:
    expected = by_hand(pictures, max_length=16, num_beams=8, num_return_sequences=1)
    assert captioner.caption(pictures, GenerationSettings()) == [[caption] for caption in expected]


def test_several_captions_of_an_image_are_sorted_best_first(captioner: Captioner, pictures: list[np.ndarray]) -> None:
    expected = by_hand(pictures[:1], max_length=12, num_beams=5, num_return_sequences=3, length_penalty=0.5)
    settings = GenerationSettings(max_length=12, num_beams=5, num_return_sequences=3, length_penalty=0.5)
    assert captioner.caption(pictures[:1], settings) == [expected]


def test_captions_of_more_images_than_a_batch_are_in_order(captioner: Captioner, pictures: list[np.ndarray]) -> None:
    alone = [captioner.caption([picture], GenerationSettings())[0] for picture in pictures]
    assert captioner.caption(pictures, GenerationSettings()) == alone


def test_no_images_give_no_captions(captioner: Captioner) -> None:
    assert captioner.caption([], GenerationSettings()) == []


def test_threads_get_their_own_captions(captioner: Captioner, pictures: list[np.ndarray]) -> None:
    alone = [captioner.caption([picture], GenerationSettings()) for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda picture: captioner.caption([picture], GenerationSettings()), pictures))
    assert together == alone


def test_a_seed_repeats_sampling_without_changing_the_process_s_random_state(
    captioner: Captioner, pictures: list[np.ndarray]
) -> None:
    def draw(seed: int | None) -> list[str]:
        settings = GenerationSettings(do_sample=True, num_beams=1, temperature=20.0, top_k=0, seed=seed)
        return captioner.caption(pictures[:1], settings)[0]

    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert draw(1) == draw(1) != draw(2)
    assert draw(None) != draw(None)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_length_beyond_the_model_s_positions_is_refused_and_named(
    captioner: Captioner, pictures: list[np.ndarray]
) -> None:
    with pytest.raises(InvalidGeneration, match="64") as caught:
        captioner.caption(pictures[:1], GenerationSettings(max_length=65))
    assert caught.value.field == "max_length"


def test_an_unloadable_model_is_tried_once_and_named_in_the_log(
    tmp_path: Path, pictures: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model=str(tmp_path / "nothing")))
    for _ in range(2):
        with pytest.raises(CaptionerUnavailable) as caught:
            captioner.caption(pictures[:1], GenerationSettings())
        assert str(tmp_path) not in str(caught.value)
    assert len(caplog.records) == 1
    assert captioner.name == "none"


def test_another_configuration_unloads_the_model_and_the_same_keeps_it() -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    captioner.load()
    captioner.configure(Configuration(model="embedded"))
    assert captioner.name == "embedded"
    captioner.configure(Configuration(model="elsewhere/model"))
    assert captioner.name == "none"


def test_the_first_caption_loads_the_model_once_for_all_threads(pictures: list[np.ndarray]) -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    start = threading.Barrier(4)

    def caption(picture: np.ndarray) -> list[list[str]]:
        start.wait(10)
        return captioner.caption([picture], GenerationSettings())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(caption, pictures[:4]))


def test_the_input_side_is_known_once_the_model_is_loaded() -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    assert captioner.input_side is None
    captioner.load()
    assert captioner.input_side == 96


def test_a_model_is_not_ready_before_its_warm_up_or_while_it_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    assert captioner.problem == "the model is being loaded"
    captioner.load_in_background()
    wait_until(lambda: captioner.problem is None)
    loaded = captioner._loaded
    assert loaded is not None
    assert sum(lane.runner.steps for lane in loaded.batcher.lanes) > 0, "the warm-up ran the model"
    monkeypatch.setattr(type(loaded.batcher), "has_stalled", True)
    assert captioner.problem == "the model makes no progress"
    captioner.close()


def test_a_model_that_fails_its_warm_up_is_not_ready_until_it_captions(
    monkeypatch: pytest.MonkeyPatch, pictures: list[np.ndarray]
) -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    captioner.load()
    loaded = captioner._loaded
    assert loaded is not None
    with monkeypatch.context() as patch:
        patch.setattr(loaded.engine, "step", fail)
        captioner.warm_up()
    assert captioner.problem == "the model failed at its warm-up: the server's log says why"
    captioner.caption(pictures[:1], GenerationSettings())
    assert captioner.problem is None
    captioner.close()


def fail() -> None:
    raise ValueError("secret details")
