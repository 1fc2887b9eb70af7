from typing import Any

import pytest

from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.engine.defaults import GenerationDefaults
from flaskapp.captioner.generation import COURSE, Generation
from flaskapp.errors import InvalidGeneration


def test_empty_settings_give_nothing() -> None:
    assert GenerationSettings().given() == {}


def test_unset_settings_keep_the_values_beneath() -> None:
    settings = GenerationSettings(num_beams=4, scores=True).over(COURSE)
    assert settings.given() == {"max_length": 16, "num_beams": 4}
    assert settings.scores
    assert GenerationSettings().over(settings) == settings


def test_one_length_replaces_the_other() -> None:
    assert GenerationSettings(max_new_tokens=5).over(COURSE).given() == {"max_new_tokens": 5, "num_beams": 8}


def test_min_length_may_not_exceed_max_length() -> None:
    with pytest.raises(InvalidGeneration) as caught:
        Generation(max_length=16, min_length=17)
    assert caught.value.field == "min_length"


def test_max_length_must_exceed_the_prompt() -> None:
    with pytest.raises(InvalidGeneration, match="more than 3") as caught:
        Generation(prompt_ids=(1, 2, 3), max_length=3)
    assert caught.value.field == "max_length"


def test_only_sampling_may_return_more_captions_than_beams() -> None:
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
def test_a_request_that_a_batch_would_change_is_generated_alone(
    own: dict[str, Any], asked: dict[str, Any], is_alone: bool
) -> None:
    defaults = GenerationDefaults(
        own=own, pinned=GenerationSettings(), start=(0,), positions=None, encode_prompt=None, no_fast_decoder="none"
    )
    assert defaults.resolve(GenerationSettings(**asked)).is_alone is is_alone


@pytest.mark.parametrize(
    ("own", "asked", "field"),
    [
        ({"num_beam_groups": 2}, {"num_beams": 4}, "num_beam_groups"),
        ({"penalty_alpha": 0.6, "num_beams": 2}, {"num_beams": 1}, "penalty_alpha"),
        ({"dola_layers": "high", "num_beams": 2}, {"num_beams": 1}, "dola_layers"),
    ],
)
def test_a_request_for_a_search_that_transformers_does_not_have_is_refused(
    own: dict[str, Any], asked: dict[str, Any], field: str
) -> None:
    defaults = GenerationDefaults(
        own=own, pinned=GenerationSettings(), start=(0,), positions=None, encode_prompt=None, no_fast_decoder=None
    )
    assert defaults.effective.num_beams == own.get("num_beams", 1)
    with pytest.raises(InvalidGeneration, match="transformers 5 does not have") as caught:
        defaults.resolve(GenerationSettings(**asked))
    assert caught.value.field == field
