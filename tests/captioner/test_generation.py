from typing import Any

import pytest

from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.engine.defaults import GenerationDefaults
from flaskapp.captioner.generation import COURSE, Generation
from flaskapp.errors import InvalidGeneration


def test_a_request_that_gives_nothing_says_nothing() -> None:
    assert GenerationSettings().given() == {}


def test_settings_over_others_keep_what_they_do_not_say() -> None:
    settings = GenerationSettings(num_beams=4, scores=True).over(COURSE)
    assert settings.given() == {"max_length": 16, "num_beams": 4}
    assert settings.scores
    assert GenerationSettings().over(settings) == settings


def test_one_length_replaces_the_other() -> None:
    assert GenerationSettings(max_new_tokens=5).over(COURSE).given() == {"max_new_tokens": 5, "num_beams": 8}


def test_a_caption_cannot_be_longer_at_least_than_at_most() -> None:
    with pytest.raises(InvalidGeneration) as caught:
        Generation(max_length=16, min_length=17)
    assert caught.value.field == "min_length"


def test_a_caption_has_room_after_its_prompt() -> None:
    with pytest.raises(InvalidGeneration, match="more than 3") as caught:
        Generation(prompt_ids=(1, 2, 3), max_length=3)
    assert caught.value.field == "max_length"


def test_a_search_gives_no_more_captions_than_it_has_beams_but_a_draw_does() -> None:
    with pytest.raises(InvalidGeneration) as caught:
        Generation(num_beams=2, num_return_sequences=3)
    assert caught.value.field == "num_return_sequences"
    with pytest.raises(InvalidGeneration):
        Generation(num_beams=2, num_return_sequences=3, do_sample=True)
    assert Generation(num_beams=1, num_return_sequences=3, do_sample=True).rows == 3


@pytest.mark.parametrize(
    ("own", "asked", "is_alone"),
    [
        ({}, {}, False),
        ({"stop_strings": ["."]}, {}, True),
        ({}, {"seed": 1}, False),
        ({}, {"seed": 1, "do_sample": True}, True),
        ({"do_sample": True}, {"seed": 1}, True),
    ],
)
def test_what_a_batch_would_change_is_generated_alone(
    own: dict[str, Any], asked: dict[str, Any], is_alone: bool
) -> None:
    defaults = GenerationDefaults(
        own=own, pinned=GenerationSettings(), start=(0,), positions=None, encode_prompt=None, no_fast_decoder="none"
    )
    assert defaults.resolve(GenerationSettings(**asked)).is_alone is is_alone
