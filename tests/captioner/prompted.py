"""Small random checkpoints of models that take a prompt: BLIP for the fast decoder, GIT for `generate`."""

from pathlib import Path

import torch
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipTextConfig,
    BlipVisionConfig,
    CLIPImageProcessorPil,
    GitConfig,
    GitForCausalLM,
    GitVisionConfig,
    PreTrainedModel,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("a", "red", "star", "blue", "circle", "on", "of", "with", "photograph", "the", "and", "small", "large", "page")
PAD, CLS, SEP = 0, 2, 3
VOCABULARY = len(SPECIAL) + len(WORDS)
SIDE = 32  # pixels
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def write_blip(folder: Path) -> Path:
    tokens = {"pad_token_id": PAD, "bos_token_id": CLS, "eos_token_id": SEP, "sep_token_id": SEP}
    text = BlipTextConfig(vocab_size=VOCABULARY, encoder_hidden_size=32, max_position_embeddings=64, **tokens, **SMALL)
    vision = BlipVisionConfig(image_size=SIDE, patch_size=16, **SMALL)
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), image_text_hidden_size=32)
    )
    BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return _write(folder, model)


def write_git(folder: Path) -> Path:
    vision = GitVisionConfig(image_size=SIDE, patch_size=16, **SMALL)
    torch.manual_seed(0)
    model = GitForCausalLM(
        GitConfig(
            vision_config=vision.to_dict(), vocab_size=VOCABULARY, max_position_embeddings=64,
            pad_token_id=PAD, bos_token_id=CLS, eos_token_id=SEP, **SMALL,
        )
    )  # fmt: skip
    side = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side).save_pretrained(folder)
    return _write(folder, model)


def _write(folder: Path, model: PreTrainedModel) -> Path:
    model.save_pretrained(folder)
    BertTokenizer(vocab={word: number for number, word in enumerate([*SPECIAL, *WORDS])}).save_pretrained(folder)
    return folder
