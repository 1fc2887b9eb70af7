"""Random draws of tokens: temperature, top-k and top-p, and draws without replacement.

Reference: transformers/generation/logits_process.py; The Curious Case of Neural Text Degeneration (Holtzman et al.,
2020) for top-p; Stochastic Beams and Where to Find Them (Kool et al., 2019) for the Gumbel draws.
"""

import torch
from torch import Tensor

from flaskapp.captioner.generation import Generation


def warp(scores: Tensor, generation: Generation) -> Tensor:
    """Apply temperature, top-k and top-p to scores [rows, vocabulary]: excluded tokens become minus infinity."""
    # A beam search needs at least one token that is no end token.
    at_least = 1 if generation.num_beams == 1 else 1 + max(1, len(generation.eos_token_ids))
    scores = scores / generation.temperature
    if 0 < generation.top_k < scores.shape[1]:
        smallest = scores.topk(max(generation.top_k, at_least)).values[:, -1:]
        scores = scores.masked_fill(scores < smallest, -torch.inf)
    if generation.top_p < 1:
        ordered, order = scores.sort(dim=1)
        unlikely = ordered.softmax(1).cumsum(1) <= 1 - generation.top_p
        unlikely[:, -at_least:] = False
        scores = scores.masked_fill(unlikely.scatter(1, order, unlikely), -torch.inf)
    return scores


def draw(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` of n without replacement from the softmax of each row: [rows, n] -> int64 [rows, count].

    This is the Gumbel top-k trick: add Gumbel noise to the scores, and take the largest.
    """
    noise = torch.empty(scores.shape).exponential_(generator=generator).log_().neg_()  # the generator is on the CPU
    return (scores + noise.to(scores.device)).topk(count).indices
