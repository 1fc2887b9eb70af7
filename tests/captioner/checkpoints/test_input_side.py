from typing import Any

import pytest
from transformers import (
    BlipImageProcessorPil,
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    DeepseekVLHybridImageProcessorPil,
    DetrImageProcessorPil,
    DonutImageProcessorPil,
    Idefics3ImageProcessorPil,
    LlavaNextImageProcessorPil,
    Pix2StructImageProcessorPil,
    Qwen2VLImageProcessorPil,
    Siglip2ImageProcessorPil,
    SmolVLMImageProcessorPil,
    ViTImageProcessorPil,
)

from flaskapp.captioner.checkpoints.input_side import input_side


@pytest.mark.parametrize(
    ("processor", "side"),
    [
        (ViTImageProcessorPil(), 224),
        (ViTImageProcessorPil(size=384), 384),
        (ViTImageProcessorPil(size={"height": 96, "width": 128}), 128),
        (BlipImageProcessorPil(), 384),
        (CLIPImageProcessorPil(size={"shortest_edge": 336}), 336),
        (DetrImageProcessorPil(), 1333),
        (DonutImageProcessorPil(), 2560),
        (ConvNextImageProcessorPil(size={"shortest_edge": 224}), 256),  # resized to 224 / 0.875, then cropped
    ],
)
def test_a_processor_that_resizes_to_one_size_has_an_input_side(processor: Any, side: int) -> None:
    assert input_side(processor) == side


@pytest.mark.parametrize(
    "processor",
    [
        ViTImageProcessorPil(do_resize=False),
        Idefics3ImageProcessorPil(),
        LlavaNextImageProcessorPil(),
        Pix2StructImageProcessorPil(),
        Qwen2VLImageProcessorPil(),
        Siglip2ImageProcessorPil(),
        SmolVLMImageProcessorPil(),
        DeepseekVLHybridImageProcessorPil(),
        object(),
    ],
)
def test_a_processor_that_keeps_the_resolution_or_tiles_has_none(processor: Any) -> None:
    assert input_side(processor) is None


def test_a_size_that_is_a_number_is_the_side() -> None:
    processor = ViTImageProcessorPil()
    processor.__dict__["size"] = 224  # an integer, as feature extractors saved it
    assert input_side(processor) == 224
