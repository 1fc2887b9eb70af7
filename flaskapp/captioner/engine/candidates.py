"""Logits of the next tokens -> candidates that searches choose from."""

from collections.abc import Sequence

import torch
from torch import Tensor

from flaskapp.captioner.engine.constraints import constrain
from flaskapp.captioner.engine.sampling import draw, warp
from flaskapp.captioner.engine.search import Candidate, Search
from flaskapp.errors import CaptionFailed

BLOCKS = 64  # blocks of a vocabulary in `top_k`


def propose(logits: Tensor, searches: Sequence[Search]) -> list[list[Candidate]]:
    """Return the candidates of each search. `logits` are fp32 [searches * beams, vocabulary].

    All searches have the same number of beams and the same `do_sample`. The logits are overwritten: allocating another
    tensor of this size costs more, in page faults, than the computation. Raise CaptionFailed for logits that are not
    finite.
    """
    generation, beams = searches[0].generation, len(searches[0].beams)
    log_probabilities = _log_probabilities(logits, searches)
    is_search = generation.num_beams > 1
    scores = torch.log_softmax(logits, 1, out=logits) if is_search else logits
    for rows, search in zip(scores.view(len(searches), beams, -1), searches, strict=True):
        constrain(rows, search.generation, search.beams)
    if not generation.do_sample:
        values, tokens = top_k(scores, min(searches[0].width, scores.shape[1]))  # [searches * beams, width]
        return _best(values, tokens, searches, log_probabilities)
    candidates = []
    for number, (rows, search) in enumerate(zip(scores.view(len(searches), beams, -1), searches, strict=True)):
        _check_finite(rows.amax())
        ours = None if log_probabilities is None else log_probabilities[number * beams : (number + 1) * beams]
        candidates.append(_drawn(warp(rows, search.generation), search, ours))
    return candidates


def _log_probabilities(logits: Tensor, searches: Sequence[Search]) -> Tensor | None:
    """Return the model's own log-probabilities, before constraints, if a search asks for them."""
    if not any(search.generation.scores for search in searches):
        return None
    return logits.log_softmax(1)


def _best(
    values: Tensor, tokens: Tensor, searches: Sequence[Search], log_probabilities: Tensor | None
) -> list[list[Candidate]]:
    """Return the best candidates of each search, from the best of each beam: [searches * beams, width] each."""
    _check_finite(values[:, 0])
    beams = len(searches[0].beams)
    totals = values + values.new_tensor([search.scores for search in searches]).view(-1, 1)
    best = totals.view(len(searches), -1).topk(searches[0].width if beams > 1 else values.shape[1])
    chosen = tokens.view(len(searches), -1).gather(1, best.indices)
    origins = best.indices // values.shape[1]
    return _candidates(best.values, origins, chosen, log_probabilities, beams)


def _drawn(scores: Tensor, search: Search, log_probabilities: Tensor | None) -> list[Candidate]:
    """Draw the candidates of one search from the scores of its beams, [beams, vocabulary]."""
    beams, vocabulary = scores.shape
    assert search.generator is not None, "a search that draws has random numbers"
    if search.generation.num_beams > 1:  # draw among all continuations of all beams
        totals = (scores + scores.new_tensor(search.scores).view(-1, 1)).view(1, -1)
        picked = draw(totals, search.width, search.generator)
        values, origins, tokens = totals.gather(1, picked), picked // vocabulary, picked % vocabulary
    else:  # draw one token for each caption; at the first step all share one beam
        rows = scores.expand(search.width, -1)
        tokens = draw(rows, 1, search.generator).view(1, -1)
        values = rows.gather(1, tokens.view(-1, 1)).view(1, -1)
        origins = torch.arange(search.width, device=scores.device).clamp(max=beams - 1).view(1, -1)
    return _candidates(values, origins, tokens, log_probabilities, beams)[0]


def _candidates(
    values: Tensor, origins: Tensor, tokens: Tensor, log_probabilities: Tensor | None, beams: int
) -> list[list[Candidate]]:
    """Tensors [searches, width] -> the candidates of each search."""
    if log_probabilities is None:
        own = torch.zeros_like(values)
    else:
        rows = origins + beams * torch.arange(len(origins), device=origins.device)[:, None]
        own = log_probabilities[rows, tokens]
    return [
        [Candidate(*each) for each in zip(*search, strict=True)]
        for search in zip(values.tolist(), origins.tolist(), tokens.tolist(), own.tolist(), strict=True)
    ]


def _check_finite(best: Tensor) -> None:
    """Raise CaptionFailed for NaN or infinity. `best` are the rows' largest values: NaN if a row has any.

    Minus infinity comes from constraints.
    """
    if not bool((best < torch.inf).all()):
        raise CaptionFailed("the model's output is not a finite number")


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`torch.topk` of [rows, n], faster for a large n and a small k. Return values and int64 indices, [rows, k] each.

    The k best are in the k blocks with the largest maxima, and a maximum is cheaper than a selection. For k = 1, the
    result is the first of equal scores, as in `generate`'s greedy search; the blocks may have another one.
    """
    if k == 1:
        best = scores.max(1, keepdim=True)
        return best.values, best.indices
    rows, n = scores.shape
    size = n // BLOCKS
    if size <= 2 * k:
        values, indices = scores.topk(k)
        return values, indices
    # A block is every size-th element: the maxima are then over contiguous rows.
    blocks = scores[:, : size * BLOCKS].view(rows, BLOCKS, size)
    columns = blocks.amax(1).topk(k).indices  # [rows, k]
    indices = (columns[:, None, :] + torch.arange(0, size * BLOCKS, size)[:, None].to(columns)).flatten(1)
    rest = torch.arange(size * BLOCKS, n).to(indices).expand(rows, -1)
    indices = torch.cat([indices, rest], 1)  # [rows, k * BLOCKS + rest]
    found = scores.gather(1, indices).topk(k)
    return found.values, indices.gather(1, found.indices)
