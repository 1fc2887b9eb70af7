"""From logits to candidates. test_parity.py compares the resulting tokens with `generate`."""

import pytest
import torch

from flaskapp.captioner.engine.candidates import propose, top_k
from flaskapp.captioner.engine.search import Search, begin
from flaskapp.captioner.generation import Generation
from flaskapp.errors import CaptionFailed


def search(**values: object) -> Search:
    return begin(Generation(eos_token_ids=(0,), **{"num_beams": 8, **values}))


@pytest.mark.parametrize("n", [40, 512, 50_257])
def test_the_top_k_by_blocks_equals_the_top_k(n: int) -> None:
    torch.manual_seed(0)
    scores = torch.randn(3, n)
    (values, indices), expected = top_k(scores, 16), scores.topk(16)
    assert torch.equal(values, expected.values)
    assert torch.equal(indices, expected.indices)


@pytest.mark.parametrize(("n", "first", "second"), [(437, 2, 271), (50_257, 271, 787)])
def test_a_greedy_search_takes_the_first_of_equal_tokens(n: int, first: int, second: int) -> None:
    logits = torch.full((2, n), -torch.inf)
    logits[:, [second, first]] = 0.0  # as after forced ends
    with torch.inference_mode():
        proposed = propose(logits, [search(num_beams=1), search(num_beams=1)])
    assert [[each.token for each in one] for one in proposed] == [[first], [first]]


def test_scores_computed_in_place_of_the_logits_are_log_probabilities() -> None:
    torch.manual_seed(0)
    logits = 5 * torch.randn(2, 50_257)
    expected = logits.log_softmax(1).topk(16)
    with torch.inference_mode():
        proposed = propose(logits.clone(), [search(), search()])
    assert [[each.score for each in one] for one in proposed] == expected.values.tolist()
    assert [[each.token for each in one] for one in proposed] == expected.indices.tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("values", [{}, {"num_beams": 1}, {"num_beams": 1, "do_sample": True}, {"do_sample": True}])
def test_a_non_finite_logit_fails_the_caption(bad: float, values: dict[str, object]) -> None:
    logits = torch.randn(1, 1000)
    logits[0, 500] = bad
    with pytest.raises(CaptionFailed), torch.inference_mode():
        propose(logits, [search(**values)])


def test_a_forbidden_token_is_no_failure() -> None:
    logits = torch.full((1, 1000), -torch.inf)
    logits[0, :20] = 0
    with torch.inference_mode():
        (candidates,) = propose(logits, [search()])
    assert {each.token for each in candidates} <= set(range(20))


def test_candidates_have_the_model_s_log_probability_whatever_the_search_settings() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 1000)
    expected = logits.log_softmax(1)[0]
    prompt = (int(expected.argmax()),)
    for values in ({"num_beams": 1}, {"repetition_penalty": 5.0}, {"do_sample": True, "num_beams": 1, "top_k": 3}):
        with torch.inference_mode():
            (candidates,) = propose(logits.clone(), [search(scores=True, prompt_ids=prompt, **values)])
        for each in candidates:
            assert each.log_probability == pytest.approx(float(expected[each.token]))
