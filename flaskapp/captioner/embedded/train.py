"""Trains the embedded model: `python -m flaskapp.captioner.embedded.train`.

On two cores it takes 40 minutes and 5 GB of memory.

A small ViT and a small GPT-2 start from random weights and learn from drawn scenes. The ViT also learns to label each
patch: from captions alone, learning shapes and relations takes many times as long.

The result is a `VisionEncoderDecoderModel` checkpoint. The seed decides the initial weights and the order of the
scenes; the scenes are always the same.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor, nn
from torch.nn import Module, Parameter
from torch.nn.functional import cross_entropy
from torch.optim import AdamW, Optimizer
from tqdm import tqdm
from transformers import (
    GPT2Config,
    GPT2Tokenizer,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
)

from flaskapp.captioner.checkpoints.hub import EMBEDDED_FOLDER
from flaskapp.captioner.embedded.muon import Muon
from flaskapp.captioner.embedded.scenes import COLOURS, RELATIONS, SHAPES, SIZES, Scene, picture_at, scene_at

SCENES = 160_000  # 28 kB each in memory
EPOCHS = 3
BATCH = 64

SIDE = 96  # pixels of the model's square input
PATCH = 16  # pixels
WIDTH = 128  # of the hidden states, in encoder and decoder
HEADS = 4
ENCODER_LAYERS = 4
DECODER_LAYERS = 3
TOKENIZER_SCENES = 2_000  # scenes whose captions train the tokenizer: they contain every word
POSITIONS = 64  # most tokens of a caption
# Labels of a patch: "" for the background, or a thing's size, colour, shape and relation to the other thing.
PATCH_LABELS = tuple(("", *words) for words in (SIZES, COLOURS, SHAPES, RELATIONS))
END = "<|endoftext|>"  # also starts and pads a caption, as in GPT-2

MATRIX_RATE = 0.02  # learning rate of Muon, for the matrices inside the layers
OTHER_RATE = 0.002  # learning rate of AdamW, for embeddings, norms and biases
WARM_UP = 200  # steps


def train_tokenizer(captions: list[str]) -> GPT2Tokenizer:
    """Train byte-level BPE. Each word of the captions becomes one token: a caption fits into 16."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(captions, vocab_size=512, min_frequency=1, special_tokens=[END], show_progress=False)
    with tempfile.TemporaryDirectory() as folder:
        bpe.save_model(folder)
        tokenizer: GPT2Tokenizer = GPT2Tokenizer.from_pretrained(
            folder, bos_token=END, eos_token=END, unk_token=END, pad_token=END
        )
    return tokenizer


def make_model(tokenizer: GPT2Tokenizer) -> VisionEncoderDecoderModel:
    """Make a ViT encoder and a GPT-2 decoder with cross-attention, with random weights."""
    encoder = ViTConfig(
        image_size=SIDE,
        patch_size=PATCH,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=ENCODER_LAYERS,
        num_attention_heads=HEADS,
    )
    decoder = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=POSITIONS,
        n_embd=WIDTH,
        n_layer=DECODER_LAYERS,
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder,
        decoder,
        decoder_start_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model = VisionEncoderDecoderModel(config)
    with torch.no_grad():  # the first position is the class token's
        cast(Any, model.encoder).embeddings.position_embeddings[0, 1:] = 0.5 * encode_positions(SIDE // PATCH, WIDTH)
    return model


def encode_positions(side: int, width: int) -> Tensor:
    """Return sines and cosines of each patch's row and column, [side * side, width]: initial position embeddings.

    With ViT's random ones, the model is slow to learn "above" and "left of".
    """
    rates = 100.0 ** -(torch.arange(width // 4) / (width // 4))  # [width / 4]
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [place.flatten()[:, None] * rates for place in (rows, columns)]  # two of [side * side, width / 4]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)


class TrainingSet(NamedTuple):
    """Drawn scenes as tensors."""

    pixels: Tensor  # uint8 [scenes, 3, SIDE, SIDE]
    patch_labels: Tensor  # uint8 [scenes, patches, len(PATCH_LABELS)]
    captions: list[str]


def draw_scenes(count: int) -> TrainingSet:
    """Draw the first `count` scenes of the training stream."""
    pixels = torch.empty(count, 3, SIDE, SIDE, dtype=torch.uint8)
    patch_labels = torch.empty(count, (SIDE // PATCH) ** 2, len(PATCH_LABELS), dtype=torch.uint8)
    captions = []
    with multiprocessing.Pool() as pool:
        scenes = pool.imap(_draw_scene, range(count), chunksize=64)
        for index, (square, labels, caption) in enumerate(tqdm(scenes, "Drawing", count, unit="scene")):
            pixels[index], patch_labels[index] = torch.from_numpy(square), torch.from_numpy(labels)
            captions.append(caption)
    return TrainingSet(pixels, patch_labels, captions)


def _draw_scene(index: int) -> tuple[np.ndarray, np.ndarray, str]:
    picture, scene = picture_at("train", index)
    square = picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.array(square).transpose(2, 0, 1), label_patches(scene), scene.caption


def label_patches(scene: Scene) -> np.ndarray:
    """Return the labels of each patch as indices into PATCH_LABELS, uint8 [patches, len(PATCH_LABELS)]."""
    patches = SIDE // PATCH
    y, x = (np.mgrid[0:patches, 0:patches] + 0.5) / patches  # the patches' centres
    labels = np.zeros((patches, patches, len(PATCH_LABELS)), np.uint8)
    for place, thing in enumerate(scene.things):
        relation = "" if len(scene.things) == 1 else scene.relation if place == 0 else RELATIONS[scene.relation]
        words = thing.size, thing.colour, thing.shape, relation
        # At least one patch.
        reach = [max(thing.extent / side, 1 / patches) / 2 for side in (scene.width, scene.height)]
        is_there = (abs(x - thing.x / scene.width) <= reach[0]) & (abs(y - thing.y / scene.height) <= reach[1])
        labels[is_there] = [names.index(word) for names, word in zip(PATCH_LABELS, words, strict=True)]
    return labels.reshape(-1, len(PATCH_LABELS))


def to_labels(tokenizer: GPT2Tokenizer, captions: list[str]) -> Tensor:
    """Return token ids, int64 [captions, longest], padded with -100, which the loss ignores."""
    rows = [torch.tensor([*tokenizer(caption).input_ids, tokenizer.eos_token_id]) for caption in captions]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-100)


def make_optimizers(model: VisionEncoderDecoderModel, patch_head: nn.Linear) -> list[Optimizer]:
    """Use Muon for the matrices inside the layers, AdamW for the rest: half as many steps as with AdamW alone."""
    matrices: list[Parameter] = []
    others = list(patch_head.parameters())
    for name, weights in model.named_parameters():
        inside = ".layer" in name or ".h." in name
        (matrices if inside and weights.ndim == 2 else others).append(weights)
    return [
        Muon(matrices, lr=MATRIX_RATE, weight_decay=0.01, momentum=0.95),
        AdamW(others, lr=OTHER_RATE, weight_decay=0.01, betas=(0.9, 0.98)),
    ]


def batches(count: int) -> Iterator[Tensor]:
    """Yield the indices of each batch, in a new order every epoch."""
    for _ in range(EPOCHS):
        yield from torch.split(torch.randperm(count), BATCH)


def fit(model: VisionEncoderDecoderModel, data: TrainingSet, labels: Tensor) -> None:
    """Train in place. The learning rate rises for WARM_UP steps, holds, and falls to zero over the second half."""
    patch_head = nn.Linear(WIDTH, sum(map(len, PATCH_LABELS)))  # only for training
    optimizers = make_optimizers(model, patch_head)
    steps = EPOCHS * -(-len(labels) // BATCH)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / WARM_UP, 2 * (steps - step) / steps)
        )
        for optimizer in optimizers
    ]
    model.train()
    progress = tqdm(batches(len(labels)), "Training", steps, unit="step")
    for step, batch in enumerate(progress):
        values = data.pixels[batch].float() / 127.5 - 1  # [BATCH, 3, SIDE, SIDE], as in the preprocessing
        output = model(pixel_values=values, labels=labels[batch])
        patches = output.encoder_last_hidden_state[:, 1:]  # the first is the class token's
        (output.loss + patch_loss(patch_head(patches), data.patch_labels[batch])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        for schedule in schedules:
            schedule.step()
        if step % 50 == 0:
            progress.set_postfix(loss=f"{output.loss.item():.4f}")


def patch_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each of PATCH_LABELS, summed.

    logits: [scenes, patches, words of all PATCH_LABELS]; labels: uint8 [scenes, patches, len(PATCH_LABELS)].
    """
    parts = torch.split(logits, [len(words) for words in PATCH_LABELS], 2)
    losses = [cross_entropy(part.flatten(0, 1), labels[..., i].flatten().long()) for i, part in enumerate(parts)]
    return torch.stack(losses).sum()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=EMBEDDED_FOLDER, help="folder of the new checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="share of the scenes: fewer are faster, and worse")
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    tokenizer = train_tokenizer([scene_at("train", index)[1] for index in range(TOKENIZER_SCENES)])
    model = make_model(tokenizer)
    data = draw_scenes(round(options.share * SCENES))
    fit(model, data, to_labels(tokenizer, data.captions))

    cast(Module, model).half()  # half the bytes; loading converts it to the configured precision
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(options.out)


if __name__ == "__main__":
    main()
