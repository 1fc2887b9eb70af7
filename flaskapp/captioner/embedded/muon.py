"""The Muon optimizer (Jordan et al., 2024) for matrices, in the precision of the weights.

`torch.optim.Muon` computes in bf16, which takes thirty times as long on CPUs without bf16 instructions.
"""

import math
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of Jordan's quintic: its iteration moves singular values towards 1
ITERATIONS = 5


class Muon(Optimizer):
    """Steps along the orthogonalised Nesterov momentum, with decoupled weight decay. All parameters are matrices."""

    def __init__(self, weights: Iterable[Parameter], lr: float, weight_decay: float, momentum: float) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            # Stack matrices of one shape: batched small products are faster than single ones.
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
    """Set the singular values of matrices [n, rows, columns] to about 1, by Newton-Schulz iteration."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalize(matrices.mT).mT
    a, b, c = COEFFICIENTS
    result: Tensor = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = result @ result.mT
        result = torch.baddbmm(result, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), result, beta=a)
    return result
