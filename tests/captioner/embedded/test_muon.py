"""Our Muon against PyTorch's, which differs only in precision."""

import pytest
import torch
from torch.nn import Parameter

from flaskapp.captioner.embedded.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8)])
def test_an_orthogonalized_matrix_has_singular_values_near_1_and_the_same_direction(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(5, *shape)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    inner = left.mT @ orthogonalize(matrices) @ right.mT
    values = inner.diagonal(dim1=1, dim2=2)
    assert torch.allclose(inner, torch.diag_embed(values), atol=1e-4)
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_steps_equal_torch_s_muon_up_to_bf16() -> None:
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((16, 16), (32, 16), (16, 16), (16, 48))]
    gradients = [[torch.randn_like(matrix) for matrix in start] for _ in range(5)]
    ours, theirs = ([Parameter(matrix.clone()) for matrix in start] for _ in range(2))
    settings = {"lr": 0.02, "weight_decay": 0.1, "momentum": 0.95}
    for optimizer, weights in ((Muon(ours, **settings), ours), (torch.optim.Muon(theirs, **settings), theirs)):
        for step in gradients:
            for matrix, gradient in zip(weights, step, strict=True):
                matrix.grad = gradient
            optimizer.step()
    for mine, other, before in zip(ours, theirs, start, strict=True):
        assert torch.allclose(mine, other, atol=5e-3)
        assert not torch.allclose(mine, before, atol=2e-2)
