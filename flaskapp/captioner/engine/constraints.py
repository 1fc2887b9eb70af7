"""Constraints of a generation, such as forbidden or forced tokens, applied to the scores of the next tokens.

Their order is the same as in transformers' `generate`.

Reference: transformers/generation/logits_process.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from flaskapp.captioner.generation import Generation


def constrain(scores: Tensor, generation: Generation, sequences: Sequence[list[int]]) -> None:
    """Apply the constraints in place to [beams, vocabulary]: logits, or log-probabilities in a beam search.

    `sequences` are the beams' tokens so far, of equal length.
    """
    length = len(sequences[0])
    if generation.repetition_penalty != 1:
        _penalise_repetition(scores, generation.repetition_penalty, sequences)
    if generation.no_repeat_ngram_size:
        for row, sequence in zip(scores, sequences, strict=True):
            row[_completions(sequence, generation.no_repeat_ngram_size)] = -torch.inf
    if generation.bad_words_ids:
        for row, sequence in zip(scores, sequences, strict=True):
            row[_last_of_bad_words(sequence, generation.bad_words_ids)] = -torch.inf
    if length < generation.min_length:
        _forbid(scores, generation.eos_token_ids)
    if generation.forced_bos_token_id is not None and length == 1:
        _force(scores, [generation.forced_bos_token_id])
    if generation.forced_eos_token_ids and length == generation.max_length - 1:
        _force(scores, generation.forced_eos_token_ids)
    if generation.suppress_tokens:
        _forbid(scores, generation.suppress_tokens)
    if generation.begin_suppress_tokens and length == _begin(generation):
        _forbid(scores, generation.begin_suppress_tokens)


def _penalise_repetition(scores: Tensor, penalty: float, sequences: Sequence[list[int]]) -> None:
    for row, sequence in zip(scores, sequences, strict=True):
        seen = row[sequence]
        row[sequence] = torch.where(seen < 0, seen * penalty, seen / penalty)


def _forbid(scores: Tensor, tokens: Sequence[int]) -> None:
    """Ids outside the vocabulary, also negative ones, have no effect, as in `generate`."""
    vocabulary = range(scores.shape[1])
    scores[:, [token for token in tokens if token in vocabulary]] = -torch.inf


def _force(scores: Tensor, tokens: Sequence[int]) -> None:
    scores.fill_(-torch.inf)
    scores[:, list(tokens)] = 0


def _begin(generation: Generation) -> int:
    """Return the sequence length at which the first free token is chosen: after the prompt and a forced first token."""
    begin = len(generation.prompt_ids)
    return begin if begin > 1 or generation.forced_bos_token_id is None else begin + 1


def _completions(sequence: list[int], size: int) -> list[int]:
    """Return the tokens that would repeat an n-gram of `size` tokens of the sequence."""
    start = sequence[len(sequence) - size + 1 :]
    return [
        sequence[place + size - 1]
        for place in range(len(sequence) - size + 1)
        if sequence[place : place + size - 1] == start
    ]


def _last_of_bad_words(sequence: list[int], bad_words: Sequence[tuple[int, ...]]) -> list[int]:
    """Return the last token of each bad word whose other tokens end the sequence."""
    return [
        last for *others, last in bad_words if not others or sequence[max(0, len(sequence) - len(others)) :] == others
    ]
