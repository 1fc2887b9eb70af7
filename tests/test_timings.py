import multiprocessing

import pytest

from flaskapp import timings


@pytest.mark.parametrize("given", ["abc", "4bf92f3577b34da6a3ce929d0e0e4736", "Root=1-67891233/a:b+c~d_e.f", "x" * 128])
def test_a_valid_request_id_is_kept(given: str) -> None:
    assert timings.begin({"HTTP_X_REQUEST_ID": given}).id == given


@pytest.mark.parametrize("given", ["", "x" * 129, "two words", 'quo"te', "line\nbreak", "ü", "<script>"])
def test_an_invalid_request_id_is_replaced(given: str) -> None:
    made = timings.begin({"HTTP_X_REQUEST_ID": given}).id
    assert made != given
    assert len(made) == 32
    assert int(made, 16)


def test_each_request_without_an_id_gets_its_own() -> None:
    assert timings.begin({}).id != timings.begin({}).id


def test_forked_processes_create_different_ids() -> None:
    fork = multiprocessing.get_context("fork")
    with fork.Pool(1) as first, fork.Pool(1) as second:
        assert first.apply(timings.new_id) != second.apply(timings.new_id)


def test_the_timings_are_in_the_environment_for_the_log() -> None:
    environ: dict[str, object] = {}
    assert environ == {timings.KEY: timings.begin(environ)}


def test_a_part_is_timed_even_if_it_fails() -> None:
    noted = timings.Timings()
    with pytest.raises(ZeroDivisionError), noted.timing("decode"):
        raise ZeroDivisionError
    assert noted.seconds.keys() == {"decode"}
    assert noted.seconds["decode"] >= 0
