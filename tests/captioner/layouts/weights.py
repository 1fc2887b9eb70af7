"""Random weights whose captions depend on the image, do not repeat one token, and end."""

import math
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

# Selective attention: sharp weights on few positions instead of a mean, which would be equal at every step.
SHARP, QUIET = 1.6, 0.7
FACTORS = dict.fromkeys((".query", ".key", "q_proj", "k_proj"), SHARP) | dict.fromkeys((".value", "v_proj"), QUIET)


def randomise(
    model: Any, seed: int, *, end: int, never: Iterable[int] = (), head: Any = None, last_norm: Any = None,
    gain: float = 2.0, contrast: float = 3.5, ending: float = 2.5, places: float = 1.0,
) -> None:  # fmt: skip
    """Draw every weight of a model anew.

    The logits have a standard deviation of about `contrast`, the end token's of `ending` times that; `never` tokens
    get 0. Half of the scales of `last_norm` are negative: otherwise a tied head would make the last token its own
    likeliest successor. `places` is the standard deviation of the position embeddings.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def draw(weight: Tensor, std: float, mean: float = 0.0) -> None:
        weight.copy_(mean + std * normal(*weight.shape))

    head = head if head is not None else model.get_output_embeddings()
    with torch.no_grad():
        modules = dict(model.named_modules())
        for name, parameter in sorted(model.named_parameters()):
            module = modules[name.rpartition(".")[0]]
            if isinstance(module, nn.Embedding):
                draw(parameter, places)
            elif (
                parameter.ndim == 1 and "norm" in f"{name} {type(module).__name__}".lower() and name.endswith("weight")
            ):
                draw(parameter, 0.1, mean=1.0)
            elif parameter.ndim == 1 or name.endswith("bias"):
                draw(parameter, 0.1)
            elif isinstance(module, Conv1D):
                draw(parameter, gain / math.sqrt(parameter.shape[0]))
            elif isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
                factor = next((factor for part, factor in FACTORS.items() if part in name), 1.0)
                draw(parameter, factor * gain / math.sqrt(parameter[0].numel()))
            else:  # positions, class tokens, queries
                draw(parameter, 0.5)
        weight = head.weight  # [vocabulary, width]; its inputs have a standard deviation of about 1
        draw(weight, contrast / math.sqrt(weight.shape[1]))
        weight[end] *= ending
        weight[list(never)] = 0
        if last_norm is not None:
            places_by_size = weight[end].abs().argsort()
            last_norm.weight[places_by_size[::2]] *= -1  # makes the end token's product with itself about 0
        if head.bias is not None:
            head.bias[list(never)] = -2 * contrast


def saved_tensors(model: Any) -> dict[str, Tensor]:
    """Return the tensors by their published names. Tied tensors appear once."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def write_pickled(folder: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, folder / "pytorch_model.bin")


def write_safetensors(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
