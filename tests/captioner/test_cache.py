"""The cache of captions: keys, size, and concurrent requests for the same caption."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from flaskapp.captioner.cache import CaptionCache
from flaskapp.captioner.generation import Caption, Generation
from flaskapp.errors import CaptionFailed, ClientLeft, DeadlineExceeded
from flaskapp.timings import Timings

GREEDY = Generation()
MEGABYTE = 2**20


class Model:
    """A model that captions images with consecutive numbers."""

    def __init__(self) -> None:
        self.made = 0
        self.may_go_on = threading.Event()
        self.has_begun = threading.Event()
        self.may_go_on.set()

    def make(self, images: int = 1) -> list[list[Caption]]:
        self.has_begun.set()
        assert self.may_go_on.wait(30)
        self.made += 1
        return [[Caption(str(self.made), (0, self.made), 1)] for _ in range(images)]


def never() -> bool:
    return False


def ask(
    cache: CaptionCache,
    model: Model,
    *digests: str,
    generation: Generation = GREEDY,
    deadline: float = 30,
    has_left: Callable[[], bool] = never,
) -> tuple[list[str], bool]:
    timings = Timings()
    captions = cache.captions(digests, generation, lambda: model.make(len(digests)), deadline, has_left, timings)
    return [each[0].text for each in captions], "cache" in timings.seconds


def test_the_same_file_with_the_same_settings_is_a_hit() -> None:
    cache, model = CaptionCache(MEGABYTE), Model()
    assert ask(cache, model, "a") == (["1"], False)
    assert ask(cache, model, "a") == (["1"], True)
    assert ask(cache, model, "b") == (["2"], False)
    assert ask(cache, model, "a", "b") == (["1", "2"], True)
    assert ask(cache, model, "a", "c") == (["3", "3"], False), "one miss computes the whole request"


@pytest.mark.parametrize(
    "other",
    [
        {"num_beams": 2}, {"max_length": 19}, {"prompt": "a", "prompt_ids": (0, 1)}, {"scores": True},
        {"repetition_penalty": 1.1}, {"suppress_tokens": (1,)}, {"do_sample": True, "seed": 1},
    ],
)  # fmt: skip
def test_each_setting_is_a_part_of_the_key(other: dict[str, object]) -> None:
    cache, model = CaptionCache(MEGABYTE), Model()
    ask(cache, model, "a")
    assert ask(cache, model, "a", generation=replace(GREEDY, **other)) == (["2"], False)


def test_sampled_captions_are_cached_only_with_a_seed() -> None:
    cache, model = CaptionCache(MEGABYTE), Model()
    drawn = replace(GREEDY, do_sample=True)
    assert [ask(cache, model, "a", generation=drawn)[1] for _ in range(2)] == [False, False]
    seeded = replace(drawn, seed=1)
    assert [ask(cache, model, "a", generation=seeded)[1] for _ in range(2)] == [False, True]


def test_a_full_cache_evicts_the_least_recently_used_entry() -> None:
    cache, model = CaptionCache(3_500), Model()
    for digest in ("a", "b", "c", "a", "d"):
        ask(cache, model, digest)
    assert [ask(cache, model, digest)[1] for digest in ("a", "c", "d")] == [True, True, True]
    assert ask(cache, model, "b")[1] is False


def test_concurrent_requests_for_a_caption_share_one_computation() -> None:
    cache, model = CaptionCache(MEGABYTE), Model()
    model.may_go_on.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, cache, model, "a")
        assert model.has_begun.wait(30)
        others = [pool.submit(ask, cache, model, "a") for _ in range(3)]
        elsewhere = pool.submit(ask, cache, Model(), "b")
        assert elsewhere.result(30) == (["1"], False), "another caption does not wait"
        model.may_go_on.set()
        assert first.result(30) == (["1"], False)
        assert [each.result(30) for each in others] == [(["1"], True)] * 3
    assert model.made == 1


def test_if_the_first_request_is_abandoned_a_waiting_one_computes() -> None:
    cache, model = CaptionCache(MEGABYTE), Model()
    has_begun, may_fail = threading.Event(), threading.Event()

    def fail() -> list[list[Caption]]:
        has_begun.set()
        assert may_fail.wait(30)
        raise ClientLeft("the client disconnected")

    with ThreadPoolExecutor() as pool:
        first = pool.submit(cache.captions, ["a"], GREEDY, fail, 30, never)
        assert has_begun.wait(30)
        second = pool.submit(ask, cache, model, "a")
        may_fail.set()
        with pytest.raises(ClientLeft):
            first.result(30)
        assert second.result(30) == (["1"], False)


def test_a_failure_is_not_cached() -> None:
    cache, model = CaptionCache(MEGABYTE), Model()

    def fail() -> list[list[Caption]]:
        raise CaptionFailed("the model failed at this image")

    with pytest.raises(CaptionFailed):
        cache.captions(["a"], GREEDY, fail, 30, never)
    assert ask(cache, model, "a") == (["1"], False)


def test_a_request_that_waits_for_another_s_computation_has_a_deadline_and_may_disconnect() -> None:
    cache, model = CaptionCache(MEGABYTE), Model()
    model.may_go_on.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(ask, cache, model, "a")
        assert model.has_begun.wait(30)
        with pytest.raises(DeadlineExceeded):
            ask(cache, model, "a", deadline=0.01)
        with pytest.raises(ClientLeft):
            ask(cache, model, "a", has_left=lambda: True)
        model.may_go_on.set()
        assert first.result(30) == (["1"], False)
