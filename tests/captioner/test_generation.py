import pytest

from flaskapp.captioner import GenerationSettings
from flaskapp.errors import InvalidGeneration


def test_the_defaults_are_the_course_s() -> None:
    settings = GenerationSettings()
    assert (settings.max_length, settings.num_beams, settings.num_return_sequences) == (16, 8, 1)


def test_a_caption_cannot_be_longer_at_least_than_at_most() -> None:
    with pytest.raises(InvalidGeneration) as caught:
        GenerationSettings(min_length=17)
    assert caught.value.field == "min_length"


def test_a_search_gives_no_more_captions_than_it_has_beams_but_a_draw_does() -> None:
    with pytest.raises(InvalidGeneration) as caught:
        GenerationSettings(num_beams=2, num_return_sequences=3)
    assert caught.value.field == "num_return_sequences"
    with pytest.raises(InvalidGeneration):
        GenerationSettings(num_beams=2, num_return_sequences=3, do_sample=True)
    assert GenerationSettings(num_beams=1, num_return_sequences=3, do_sample=True).num_return_sequences == 3


def test_generate_gets_no_setting_that_would_have_no_effect() -> None:
    """It would warn of each."""
    greedy = GenerationSettings(num_beams=1).for_generate()
    assert not greedy.keys() & {"length_penalty", "early_stopping", "temperature", "top_k", "top_p"}
