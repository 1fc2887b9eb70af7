"""Muon, the optimizer for matrices (Jordan et al., 2024), in the precision of its weights.

`torch.optim.Muon` is the same but computes in bf16, for which CPUs without bf16 instructions take thirty times as long.
"""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose iteration drives singular values towards 1, by Jordan
ITERATIONS = 5


class Muon(Optimizer):
    """Steps along the orthogonalised momentum (Nesterov's), with decoupled weight decay. Parameters are matrices."""

    def __init__(self, weights: Iterable[Parameter], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            # Matrices of one shape go together: many small products at once are faster than one by one.
            for (rows, columns), matrices in _by_shape(group["params"]).items():
                updates = orthogonalize(torch.stack([self._advance_momentum(m, group["momentum"]) for m in matrices]))
                rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
                for matrix, update in zip(matrices, updates, strict=True):
                    matrix.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _advance_momentum(self, matrix: Parameter, decay: float) -> Tensor:
        momentum: Tensor = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        gradient = cast(Tensor, matrix.grad)
        momentum.lerp_(gradient, 1 - decay)
        update: Tensor = gradient.lerp(momentum, decay)
        return update


def _by_shape(matrices: Iterable[Parameter]) -> dict[torch.Size, list[Parameter]]:
    groups: dict[torch.Size, list[Parameter]] = {}
    for matrix in matrices:
        groups.setdefault(matrix.shape, []).append(matrix)
    return groups


def orthogonalize(matrices: Tensor) -> Tensor:
    """Matrices [n, rows, columns] with the same singular vectors and with singular values near 1.

    By Newton and Schulz's iteration.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.mT).mT
    a, b, c = COEFFICIENTS
    result: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = result @ result.mT
        result = torch.baddbmm(result, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result
