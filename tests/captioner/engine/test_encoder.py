"""The encoder with fused projections against transformers' own."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from transformers import (
    BeitConfig,
    BeitModel,
    BlipVisionConfig,
    BlipVisionModel,
    DeiTConfig,
    DeiTModel,
    SwinConfig,
    SwinModel,
    ViTModel,
)

from flaskapp.captioner.engine import kv_cache
from flaskapp.captioner.engine.description import Packer
from flaskapp.captioner.engine.encoder import SelfAttention, replace_layers
from flaskapp.captioner.engine.linear import PackedLinear, makers
from tests.captioner.tiny import small_vit

FP32 = makers("fp32", torch.device("cpu"))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)], ids=str)
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("has_amx", [True, False])
def test_one_fused_projection_equals_three(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, error: float, has_bias: bool, has_amx: bool
) -> None:
    monkeypatch.setattr(kv_cache, "has_amx", lambda: has_amx)
    monkeypatch.setattr(kv_cache, "MANY_QUERIES", 1)
    torch.manual_seed(0)
    config = small_vit()
    config.qkv_bias = has_bias
    theirs = ViTModel(config).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)  # new biases are zero
    ours = deepcopy(theirs)
    replace_layers(ours, Packer(FP32), dtype)
    assert sum(isinstance(module, SelfAttention) for module in ours.modules()) == config.num_hidden_layers
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected, seen = (model(pixel_values=pixels).last_hidden_state for model in (theirs, ours))
    assert seen.dtype == torch.float32
    assert (seen - expected).norm() <= error * expected.norm()


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZE = {"image_size": 32, "patch_size": 16}


@pytest.mark.parametrize(
    ("theirs", "attentions"),
    [
        (DeiTModel(DeiTConfig(**SMALL, **SIZE)), 2),
        (BlipVisionModel(BlipVisionConfig(**SMALL, **SIZE)), 2),
        (BeitModel(BeitConfig(**SMALL, **SIZE)), 0),
        (
            SwinModel(
                SwinConfig(image_size=32, patch_size=4, window_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2])
            ),
            0,
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_other_encoders_give_the_same_output(theirs: nn.Module, attentions: int) -> None:
    """BEiT and Swin keep their attention."""
    torch.manual_seed(0)
    for parameter in theirs.eval().parameters():
        nn.init.normal_(parameter, std=0.2)
    ours = deepcopy(theirs)
    replace_layers(ours, Packer(FP32), torch.float32)
    assert sum(isinstance(module, SelfAttention) for module in ours.modules()) == attentions
    activated = [module.fc1 for module in ours.modules() if hasattr(module, "fc1")]
    assert len(activated) == 2
    assert all(isinstance(layer, PackedLinear) and layer.fused.name == "gelu" for layer in activated)
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected, seen = (model(pixel_values=pixels).last_hidden_state for model in (theirs, ours))
    assert torch.allclose(seen, expected, atol=1e-4)
