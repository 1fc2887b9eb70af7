"""Beam search and sampling for one image: which beams continue, which are finished, and when the search is done.

A search sees only a few candidates for each beam. The decoder's arithmetic and its cache are elsewhere.

Reference: transformers/generation/utils.py (`_beam_search`, `_sample`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np
import torch

from flaskapp.captioner.generation import Generation


class Candidate(NamedTuple):
    """A next token for one of the beams."""

    score: float  # sum over the whole sequence
    beam: int
    token: int
    log_probability: float = 0.0  # the model's own, of this token; only with `scores`


class Result(NamedTuple):
    """One caption."""

    token_ids: list[int]
    tokens: int  # number of generated tokens
    log_probability: float  # the model's own, summed over the generated tokens
    other_prompt_tokens: int = 0  # number of the prompt's tokens that token_ids lacks


@dataclass(eq=False)
class Search:
    """Beam search for one image's captions: sequences from the prompt to an end token, or to max_length.

    Greedy search has one beam. With `do_sample` and several beams, the candidates are drawn.
    """

    generation: Generation
    beams: list[list[int]] = field(init=False)
    scores: list[float] = field(init=False)
    log_probabilities: list[float] = field(init=False)
    finished: list[tuple[float, Result]] = field(init=False, default_factory=list)  # best first
    is_done: bool = field(init=False, default=False)
    generator: torch.Generator | None = field(init=False, default=None)  # random numbers of this request

    def __post_init__(self) -> None:
        # The prompt branches into all beams at the first step.
        self.beams, self.scores, self.log_probabilities = [list(self.generation.prompt_ids)], [0.0], [0.0]
        if self.generation.do_sample:
            self.generator = torch.Generator()
            if self.generation.seed is None:
                self.generator.seed()
            else:
                self.generator.manual_seed(self.generation.seed)

    @property
    def width(self) -> int:
        """Candidates that a step needs, so that enough remain for all beams if some of them end."""
        if self.generation.num_beams == 1:
            return self.generation.rows
        return max(2, 1 + len(self.generation.eos_token_ids)) * self.generation.num_beams

    @property
    def results(self) -> list[Result]:
        """The captions, best first, once the search is done."""
        return [result for _, result in self.finished[: self.generation.num_return_sequences]]

    def advance(self, candidates: Sequence[Candidate]) -> list[int]:
        """Continue with the best of `width` candidates. Return their parent beams."""
        length = len(self.beams[0])  # without the new token
        is_last = length + 1 >= self.generation.max_length
        ended: list[tuple[float, Result]] = []
        live: list[Candidate] = []
        for rank, candidate in enumerate(candidates):
            if is_last or candidate.token in self.generation.eos_token_ids:
                # Candidates beyond num_beams only replace ended ones. A forbidden token (-inf) ends no sequence.
                if rank < self.generation.num_beams and (is_last or candidate.score > -inf):
                    ended.append((candidate.score, self._extended(candidate)))
            else:
                live.append(candidate)
        # Drawn candidates are not sorted.
        live = sorted(live, key=lambda each: -each.score)[: self.generation.num_beams]
        self._finish(ended, length)
        self.is_done = is_last or self._has_found_enough([each.score for each in live], length)
        if not self.is_done:
            extended = [self._extended(each) for each in live]
            self.beams, self.scores = [each.token_ids for each in extended], [each.score for each in live]
            self.log_probabilities = [each.log_probability for each in extended]
        return [each.beam for each in live]

    def _extended(self, candidate: Candidate) -> Result:
        beam = [*self.beams[candidate.beam], candidate.token]
        log_probability = self.log_probabilities[candidate.beam] + candidate.log_probability
        return Result(beam, len(beam) - len(self.generation.prompt_ids), log_probability)

    def _finish(self, ended: list[tuple[float, Result]], length: int) -> None:
        penalised = [(self._penalised(score, length), result) for score, result in ended]
        best = sorted(self.finished + penalised, key=lambda each: -each[0])
        self.finished = best[: self.generation.num_beams]

    def _has_found_enough(self, scores: list[float], length: int) -> bool:
        """Whether no running beam may beat the worst finished one."""
        generation = self.generation
        if len(self.finished) < generation.num_beams:
            return False
        if generation.num_beams == 1 or generation.early_stopping is True or not scores:
            return True
        if generation.early_stopping == "never" and generation.length_penalty > 0:
            length = generation.max_length - 1  # the longest that a running beam can become
        worst, _ = self.finished[-1]
        return self._penalised(scores[0], length) <= worst

    def _penalised(self, score: float, length: int) -> float:
        """Divide a score by (number of new tokens) ** length_penalty, in fp32 as `generate` does."""
        tokens = length + 1 - len(self.generation.prompt_ids)
        return float(np.float32(score) / np.float32(tokens**self.generation.length_penalty))


@dataclass(eq=False)
class FreeDraws(Search):
    """Draws captions independently of each other, one for each beam.

    The beam of a finished caption keeps decoding until all are finished. Its further tokens are ignored.
    """

    _ended: dict[int, Result] = field(init=False, default_factory=dict)  # by beam

    def advance(self, candidates: Sequence[Candidate]) -> list[int]:
        """Continue with one candidate for each caption, in their order."""
        is_last = len(self.beams[0]) + 1 >= self.generation.max_length
        results = [self._extended(candidate) for candidate in candidates]
        for beam, (candidate, result) in enumerate(zip(candidates, results, strict=True)):
            if is_last or candidate.token in self.generation.eos_token_ids:
                self._ended.setdefault(beam, result)
        self.beams = [result.token_ids for result in results]
        self.log_probabilities = [result.log_probability for result in results]
        self.scores = [0.0] * len(results)
        self.is_done = len(self._ended) == len(results)
        if self.is_done:
            self.finished = [(0.0, self._ended[beam]) for beam in range(len(results))]
        return [candidate.beam for candidate in candidates]


def begin(generation: Generation) -> Search:
    """Return a new search for a generation."""
    return FreeDraws(generation) if generation.draws_freely else Search(generation)
