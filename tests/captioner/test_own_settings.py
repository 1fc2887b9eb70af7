"""Generation configurations as checkpoints really use them: of inner models, without tokens, beyond positions."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    ElectraConfig,
    ElectraForCausalLM,
    PreTrainedModel,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
    XmodConfig,
    XmodForCausalLM,
)

from flaskapp.captioner.checkpoints.load import _end_tokens
from flaskapp.captioner.engine.prompts import count_positions
from flaskapp.captioner.generation import GenerationSettings
from flaskapp.errors import InvalidGeneration
from tests.captioner.layouts.files import change_json, write_json
from tests.captioner.layouts.gpt2 import write_vit_gpt2
from tests.captioner.layouts.plain import Plain, sample_images
from tests.captioner.layouts.prefix import write_blip2
from tests.captioner.layouts.table import LAYOUTS
from tests.captioner.test_layouts import load

IMAGES = sample_images()
SMALL: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 16, "embedding_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 40, "is_decoder": True, "add_cross_attention": True,
    "pad_token_id": 1,
}  # fmt: skip


def test_a_model_that_calls_another_model_s_generate_has_that_model_s_settings(tmp_path: Path) -> None:
    folder = write_blip2(tmp_path / "blip2")
    change_json(folder / "generation_config.json", num_beams=4, num_return_sequences=3, max_new_tokens=3)
    ours, plain = load(folder), Plain(folder)
    assert ours.defaults is not None
    assert ours.defaults.num_beams == 1
    described = ours.describe(IMAGES, GenerationSettings(max_new_tokens=12))
    expected = [plain.generate(image, {"max_new_tokens": 12}) for image in IMAGES]
    assert [caption.text for (caption,) in described] == [plain.text(ids) for ids in expected]
    with pytest.raises(InvalidGeneration) as refusal:
        ours.describe(IMAGES, GenerationSettings(num_return_sequences=3))
    assert refusal.value.field == "num_return_sequences"


@pytest.mark.parametrize("name", ["instructblip", "kosmos2"])
def test_other_models_that_call_another_model_s_generate_have_its_settings(name: str, tmp_path: Path) -> None:
    folder = LAYOUTS[name].write(tmp_path / name)
    change_json(folder / "generation_config.json", num_beams=4)
    defaults = load(folder).defaults
    assert defaults is not None
    assert defaults.num_beams == 1


def test_a_generation_configuration_without_tokens_takes_start_and_end_from_the_model(tmp_path: Path) -> None:
    folder = write_vit_gpt2(tmp_path / "whole")
    expected = [Plain(folder).generate(image, {"num_beams": 1, "max_length": 16}) for image in IMAGES]
    write_json(folder / "generation_config.json", {"max_length": 16})
    described = load(folder).describe(IMAGES, GenerationSettings())
    assert [list(caption.token_ids) for (caption,) in described] == expected
    assert min(map(len, expected)) < 16, "some end before the longest"


@pytest.mark.parametrize(
    ("eos_token_id", "expected"), [(None, [7]), ([900, 5, 6], [5, 6]), (900, [7])], ids=["none", "several", "outside"]
)
def test_the_end_tokens_are_those_that_the_decoder_has(eos_token_id: Any, expected: list[int]) -> None:
    model = with_decoder(ElectraForCausalLM(ElectraConfig(**SMALL, eos_token_id=eos_token_id)))
    assert _end_tokens(model, SimpleNamespace(eos_token_id=None, sep_token_id=7)) == expected


def with_decoder(decoder: PreTrainedModel) -> VisionEncoderDecoderModel:
    encoder = ViTModel(
        ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)
    )
    return VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)


@pytest.mark.parametrize(
    "decoder",
    [
        ElectraForCausalLM(ElectraConfig(**SMALL)),
        XmodForCausalLM(XmodConfig(**SMALL, languages=["en_XX"], default_language="en_XX")),
    ],
    ids=["electra", "xmod"],
)
def test_a_decoder_without_a_description_takes_as_many_tokens_as_it_has_positions(decoder: PreTrainedModel) -> None:
    most = count_positions(with_decoder(decoder))
    assert most is not None
    assert most <= 40
    encoded = torch.zeros(1, 3, 16)
    decoder(input_ids=torch.full((1, most), 5), encoder_hidden_states=encoded)
    with pytest.raises((IndexError, RuntimeError)):
        decoder(input_ids=torch.full((1, most + 1), 5), encoder_hidden_states=encoded)
