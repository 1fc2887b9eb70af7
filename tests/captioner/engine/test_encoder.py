"""The encoder with fused projections against transformers' own."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from transformers import BeitConfig, BeitModel, BlipVisionConfig, BlipVisionModel, DeiTConfig, DeiTModel, ViTModel

from flaskapp.captioner.engine import kv_cache
from flaskapp.captioner.engine.encoder import SelfAttention, replace_attention
from tests.captioner.tiny import small_vit


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
    replace_attention(ours, dtype)
    assert sum(isinstance(module, SelfAttention) for module in ours.modules()) == config.num_hidden_layers
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected, seen = (model(pixel_values=pixels).last_hidden_state for model in (theirs, ours))
    assert seen.dtype == torch.float32
    assert (seen - expected).norm() <= error * expected.norm()


@pytest.mark.parametrize("kind", ["deit", "blip"])
def test_other_encoders_with_the_same_attention_give_the_same_output(kind: str) -> None:
    torch.manual_seed(0)
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    size = {"image_size": 32, "patch_size": 16}
    deit, blip = DeiTConfig(**small, **size), BlipVisionConfig(**small, **size)
    theirs = DeiTModel(deit) if kind == "deit" else BlipVisionModel(blip)
    for parameter in theirs.eval().parameters():
        nn.init.normal_(parameter, std=0.2)
    ours = deepcopy(theirs)
    replace_attention(ours, torch.float32)
    assert sum(isinstance(module, SelfAttention) for module in ours.modules()) == 2
    pixels = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected, seen = (model(pixel_values=pixels).last_hidden_state for model in (theirs, ours))
    assert torch.allclose(seen, expected, atol=1e-4)


def test_an_encoder_with_other_attention_is_not_changed() -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = BeitModel(BeitConfig(image_size=32, patch_size=16, **small))
    before = [type(module) for module in model.modules()]
    replace_attention(model, torch.float32)
    assert [type(module) for module in model.modules()] == before
