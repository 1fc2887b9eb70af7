"""Sampling, checked by frequencies."""

import pytest
import torch

from flaskapp.captioner.engine.candidates import propose
from flaskapp.captioner.engine.sampling import draw, warp
from flaskapp.captioner.engine.search import begin
from flaskapp.captioner.generation import Generation

DRAWS = 20_000


def test_samples_have_the_frequencies_of_the_softmax() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, -torch.inf]]).expand(DRAWS, -1)
    tokens = draw(scores, 1, torch.Generator().manual_seed(0))
    frequencies = torch.bincount(tokens.flatten(), minlength=4) / DRAWS
    assert torch.allclose(frequencies, scores[0].softmax(0), atol=0.02)


def test_sampling_without_replacement_has_sequential_probabilities() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0]]).expand(DRAWS, -1)
    pairs = draw(scores, 2, torch.Generator().manual_seed(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    a, b = scores[0].softmax(0)[:2].tolist()
    expected = a * b / (1 - a)  # first 0, then 1
    assert float(((pairs[:, 0] == 0) & (pairs[:, 1] == 1)).float().mean()) == pytest.approx(expected, abs=0.02)


def test_tokens_beyond_top_k_or_top_p_are_never_sampled() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()
    kept = lambda **values: (warp(scores, Generation(do_sample=True, **values)) > -torch.inf)[0].tolist()  # noqa: E731
    assert kept(top_k=2) == [False, False, True, True]
    assert kept(top_k=0, top_p=0.6) == [False, False, True, True]
    assert kept(top_k=0, top_p=0.01) == [False, False, False, True]
    assert kept(top_k=1, num_beams=2, eos_token_ids=(0,)) == [False, False, True, True]
    assert kept(top_k=0) == [True] * 4


def test_each_sampled_caption_ends_at_its_own_end_token() -> None:
    generation = Generation(do_sample=True, num_return_sequences=2, eos_token_ids=(1,), max_length=6, seed=3)
    search = begin(generation)
    logits = torch.tensor([[-5.0, 0.0, 0.5, 0.5]])
    while not search.is_done:
        (candidates,) = propose(logits.expand(len(search.beams), -1).clone(), [search])
        search.advance(candidates)
    for result in search.results:
        ends = [place for place, token in enumerate(result.token_ids[1:], 1) if token == 1]
        assert len(result.token_ids) == 6 if not ends else ends == [len(result.token_ids) - 1]
    assert len(search.results) == 2


def test_a_seed_makes_sampling_repeatable() -> None:
    def first(seed: int) -> int:
        search = begin(Generation(do_sample=True, seed=seed))
        return propose(torch.zeros(1, 1000), [search])[0][0].token

    assert first(1) == first(1) != first(2)
