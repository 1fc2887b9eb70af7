"""The search's two operations on whole vocabularies. Its words are compared with `generate`'s in test_parity.py."""

import pytest
import torch

from flaskapp.captioner import GenerationSettings
from flaskapp.captioner.engine.beam_search import Search, propose, top_k


@pytest.mark.parametrize("n", [40, 512, 50_257])
def test_the_best_by_blocks_are_the_best_of_all(n: int) -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, n)
    (values, indices), expected = top_k(scores, 16), scores.topk(16)
    assert torch.equal(values, expected.values)
    assert torch.equal(indices, expected.indices)


def test_scores_are_log_probabilities_though_they_take_the_place_of_the_logits() -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(2, 50_257)
    expected = logits.log_softmax(1).topk(16)
    searches = [Search(GenerationSettings(), start=0, ends=frozenset([0])) for _ in range(2)]
    with torch.inference_mode():
        proposed = propose(logits.clone(), searches)
    assert [[each.score for each in search] for search in proposed] == expected.values.tolist()
    assert [[each.token for each in search] for search in proposed] == expected.indices.tolist()
