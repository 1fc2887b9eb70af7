import torch
from torch.nn.functional import gelu

from flaskapp.captioner.engine.activations import tanh_gelu


def test_the_fast_gelu_is_pytorch_s_to_the_last_digits() -> None:
    x = torch.linspace(-12, 12, 10_001)
    assert torch.allclose(tanh_gelu(x), gelu(x, approximate="tanh"), atol=1e-6)
