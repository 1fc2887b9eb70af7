"""A checkpoint of the default model's size with random weights: ViT-B/16 and GPT-2, 239 million parameters."""

from pathlib import Path

import torch
from transformers import (
    GPT2Config,
    GPT2Tokenizer,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
)

from flaskapp.captioner.checkpoints.inputs import PixelInputs
from flaskapp.captioner.checkpoints.load import LoadedCheckpoint

END = 50_256


def make_model() -> VisionEncoderDecoderModel:
    torch.manual_seed(0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(), GPT2Config(), decoder_start_token_id=END, pad_token_id=END, eos_token_id=END
    )
    return VisionEncoderDecoderModel(config).eval()


def load() -> LoadedCheckpoint:
    """Return the model in memory, without a tokenizer or preprocessing."""
    return LoadedCheckpoint(make_model(), None, PixelInputs(None, None, (END,)))


def write(folder: Path) -> Path:
    """Write a folder that every server can load. The tokens are made-up words: w0, w1, ..."""
    make_model().save_pretrained(folder)
    ViTImageProcessorPil().save_pretrained(folder)
    end = "<|endoftext|>"
    words = {f"w{number}": number for number in range(END)} | {end: END}
    GPT2Tokenizer(vocab=words, merges=[], bos_token=end, eos_token=end, unk_token=end).save_pretrained(folder)
    return folder
