"""The KV cache against attention recomputed for each sequence."""

import torch
from torch import Tensor

from flaskapp.captioner.engine.kv_cache import COMPACT_FROM, KVCache

IMAGES, BEAMS, HEADS, HEAD_DIM, PROMPT = 2, 3, 2, 4, 3
STEPS = 5  # more follow: the cache grows
WIDTH = HEADS * HEAD_DIM


def by_hand(history: list[Tensor]) -> Tensor:
    """Return causal attention of a sequence's last token, [width], from its tokens' projections, [3 * width] each."""
    query, keys, values = torch.stack(history).view(len(history), 3, HEADS, HEAD_DIM).unbind(1)
    weights = torch.einsum("hd,thd->ht", query[-1], keys).softmax(1)
    return torch.einsum("ht,thd->hd", weights, values).flatten()


def test_each_beam_attends_to_its_own_ancestors_through_reorders_drops_and_compactions() -> None:
    torch.manual_seed(0)
    cross = [(torch.randn(IMAGES, HEADS, 5, HEAD_DIM), torch.randn(IMAGES, HEADS, 5, HEAD_DIM))]
    cache = KVCache(cross, BEAMS, PROMPT, STEPS, torch.float32)
    prompt = torch.randn(IMAGES * PROMPT, 3 * WIDTH)
    cache.begin_step()
    assert cache.sequence_positions() == [0, 1, 2] * IMAGES
    seen = cache.last_of_each_sequence(cache.self_attention(0, prompt, 1.0))
    histories = [[list(image)] for image in prompt.view(IMAGES, PROMPT, -1)]
    expected = torch.stack([by_hand(history[0]) for history in histories])
    assert torch.allclose(seen, expected, atol=1e-5)
    parents = torch.zeros(IMAGES, BEAMS, dtype=torch.int64)
    for step in range(2 * COMPACT_FROM // BEAMS):
        cache.reorder(parents)
        histories = [
            [list(beams[parent]) for parent in row] for beams, row in zip(histories, parents.tolist(), strict=True)
        ]
        cache.begin_step()
        assert cache.sequence_positions() == [PROMPT + step] * cache.rows
        new = torch.randn(cache.rows, 3 * WIDTH)
        for number, token in enumerate(new):
            histories[number // BEAMS][number % BEAMS].append(token)
        expected = torch.stack([by_hand(history) for beams in histories for history in beams])
        assert torch.allclose(cache.self_attention(0, new, 1.0), expected, atol=1e-4)
        parents = torch.randint(BEAMS, (cache.images, BEAMS))
        if step == COMPACT_FROM // BEAMS:
            cache.drop(0)
            histories, parents = [histories[1]], parents[1:]


def test_the_memory_of_dropped_beams_is_reclaimed() -> None:
    cross = [(torch.randn(1, HEADS, 5, HEAD_DIM), torch.randn(1, HEADS, 5, HEAD_DIM))]
    cache = KVCache(cross, BEAMS, 1, STEPS, torch.float32)
    for _ in range(1000):
        cache.begin_step()
        cache.self_attention(0, torch.randn(cache.rows, 3 * WIDTH), 1.0)
        cache.reorder(torch.zeros(1, BEAMS, dtype=torch.int64))  # all continue the first beam
    assert cache._new.stop < 2500 < 1000 * BEAMS
