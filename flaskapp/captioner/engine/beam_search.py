"""Which tokens to go on with: greedy and beam search for one image, with the words of transformers' `generate`.

Only bookkeeping lives here, on a few candidates for each beam; the decoder's arithmetic and its cache are elsewhere.

Reference: transformers/generation/utils.py (`_beam_search`, `_sample`) and logits_process.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flaskapp.captioner.generation import GenerationSettings

BLOCKS = 64  # what `top_k` divides a vocabulary into


class Candidate(NamedTuple):
    """One more token for one of the beams; `score` is the sum of the log-probabilities of all its tokens."""

    score: float
    beam: int
    token: int


@dataclass(eq=False)
class Search:
    """The search for one image's captions: sequences from `start` to one of `ends`, or to max_length."""

    settings: GenerationSettings
    start: int
    ends: frozenset[int]
    beams: list[list[int]] = field(init=False)
    scores: list[float] = field(init=False)
    finished: list[tuple[float, list[int]]] = field(init=False, default_factory=list)  # the best first
    is_done: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.beams, self.scores = [[self.start]], [0.0]  # the one start branches into all beams at the first step

    @property
    def width(self) -> int:
        """How many candidates a step needs: enough that as many go on as there are beams, whatever of them end."""
        if self.settings.num_beams == 1:
            return 1
        return max(2, 1 + len(self.ends)) * self.settings.num_beams

    @property
    def results(self) -> list[list[int]]:
        """Once it is done: the token ids of each caption, the best first."""
        return [sequence for _, sequence in self.finished[: self.settings.num_return_sequences]]

    def advance(self, candidates: Sequence[Candidate]) -> list[int]:
        """Go on with the best of `width` candidates, given best first. Returns the beams that they come from."""
        length = len(self.beams[0])  # of the sequences, without the new token
        is_last = length + 1 >= self.settings.max_length
        parents: list[int] = []
        beams, scores, ended = [], [], []
        for rank, (score, beam, token) in enumerate(candidates):
            if is_last or token in self.ends:
                if rank < self.settings.num_beams:  # the others are there to take the place of those that end
                    ended.append((score, [*self.beams[beam], token]))
            elif len(parents) < self.settings.num_beams:
                parents.append(beam)
                beams.append([*self.beams[beam], token])
                scores.append(score)
        self._finish(ended, length)
        self.is_done = is_last or self._has_found_enough(scores, length)
        if not self.is_done:
            self.beams, self.scores = beams, scores
        return parents

    def _finish(self, ended: list[tuple[float, list[int]]], length: int) -> None:
        penalised = [(_divide(score, length, self.settings.length_penalty), sequence) for score, sequence in ended]
        best = sorted(self.finished + penalised, key=lambda each: -each[0])
        self.finished = best[: self.settings.num_beams]

    def _has_found_enough(self, scores: list[float], length: int) -> bool:
        """Whether nothing that is still running may beat the worst of what is finished."""
        settings = self.settings
        if len(self.finished) < settings.num_beams:
            return False
        if settings.num_beams == 1 or settings.early_stopping is True:
            return True
        if settings.early_stopping == "never" and settings.length_penalty > 0:
            length = settings.max_length - 1  # where a running one could still get to
        worst, _ = self.finished[-1]
        return _divide(scores[0], length, settings.length_penalty) <= worst


def _divide(score: float, length: int, penalty: float) -> float:
    """A score by the number of its new tokens to the power of the penalty, in fp32 as `generate` has it."""
    return float(np.float32(score) / np.float32(length**penalty))


def propose(logits: Tensor, searches: Sequence[Search]) -> list[list[Candidate]]:
    """The best candidates of each search from the logits of its beams' next tokens, [searches * beams, vocabulary].

    All searches have the same number of beams. The logits are overwritten: they are the largest tensor that there is,
    and another one of its size costs more, in fresh pages of memory, than what is computed.
    """
    is_greedy = searches[0].settings.num_beams == 1
    scores = logits if is_greedy else torch.log_softmax(logits, 1, out=logits)
    beams = len(searches[0].beams)
    for rows, search in zip(scores.view(len(searches), beams, -1), searches, strict=True):
        constrain(rows, search)
    values, tokens = top_k(scores, min(searches[0].width, scores.shape[1]))  # [searches * beams, width]
    totals = values + values.new_tensor([search.scores for search in searches]).view(-1, 1)
    best = totals.view(len(searches), -1).topk(searches[0].width if beams > 1 else values.shape[1])
    chosen = tokens.view(len(searches), -1).gather(1, best.indices)
    origins = best.indices // values.shape[1]
    return [
        [Candidate(*each) for each in zip(*search, strict=True)]
        for search in zip(best.values.tolist(), origins.tolist(), chosen.tolist(), strict=True)
    ]


def constrain(scores: Tensor, search: Search) -> None:
    """Apply repetition_penalty, no_repeat_ngram_size and min_length, in place, to [beams, vocabulary]."""
    settings = search.settings
    if settings.repetition_penalty != 1:
        for row, sequence in zip(scores, search.beams, strict=True):
            seen = row[sequence]
            row[sequence] = torch.where(
                seen < 0, seen * settings.repetition_penalty, seen / settings.repetition_penalty
            )
    if settings.no_repeat_ngram_size:
        for row, sequence in zip(scores, search.beams, strict=True):
            row[_completions(sequence, settings.no_repeat_ngram_size)] = -torch.inf
    if len(search.beams[0]) < settings.min_length:
        scores[:, list(search.ends)] = -torch.inf


def _completions(sequence: list[int], size: int) -> list[int]:
    """The tokens that would make the last ones a run of `size` tokens that is in the sequence already."""
    start = sequence[len(sequence) - size + 1 :]
    return [
        sequence[place + size - 1]
        for place in range(len(sequence) - size + 1)
        if sequence[place : place + size - 1] == start
    ]


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """`torch.topk` of [rows, n] for a large n and a small k: values and int64 indices, [rows, k] each, the best first.

    The k best are in the k blocks with the largest maxima, and a maximum is cheaper than a selection.
    """
    rows, n = scores.shape
    size = n // BLOCKS
    if size <= 2 * k:
        values, indices = scores.topk(k)
        return values, indices
    # A block is every size-th element, so that the maxima are taken of whole rows in memory.
    blocks = scores[:, : size * BLOCKS].view(rows, BLOCKS, size)
    columns = blocks.amax(1).topk(k).indices  # [rows, k]
    indices = (columns[:, None, :] + torch.arange(0, size * BLOCKS, size)[:, None].to(columns)).flatten(1)
    rest = torch.arange(size * BLOCKS, n).to(indices).expand(rows, -1)
    indices = torch.cat([indices, rest], 1)  # [rows, k * BLOCKS + rest]
    best = scores.gather(1, indices).topk(k)
    return best.values, indices.gather(1, best.indices)
