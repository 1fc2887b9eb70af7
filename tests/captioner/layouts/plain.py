"""Captions of plain transformers: the reference for the captioner."""

import json
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    Idefics3Processor,
)
from transformers.models.trocr.modeling_trocr import TrOCRSinusoidalPositionalEmbedding

LOCAL: Any = {"local_files_only": True, "trust_remote_code": False}
LONGEST = 40  # new tokens, even if a checkpoint's defaults allow more
IMAGE_PAD = "<|image_pad|>"
WITH_TOKENIZER = ("vision-encoder-decoder", "blip", "git")

WAYS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "course": {"max_length": 16, "num_beams": 8},
    "greedy": {"num_beams": 1, "max_new_tokens": 12},
    "beams4": {"num_beams": 4, "max_new_tokens": 12},
}


class Plain:
    """A checkpoint in plain transformers."""

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, weights_only=True, **LOCAL)
        self.model.eval()
        repair_sinusoidal_positions(self.model)
        self.kind = AutoConfig.from_pretrained(folder, **LOCAL).model_type
        if self.kind in WITH_TOKENIZER:
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL, **japanese(folder))
            self._images: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", **LOCAL)
        else:
            make = WITHOUT_VIDEO.get(self.kind, partial(AutoProcessor.from_pretrained, backend="pil", **LOCAL))
            self._processor: Any = make(folder)
            self.tokenizer = getattr(self._processor, "tokenizer", self._processor)

    @property
    def is_decoder_only(self) -> bool:
        language_model = getattr(self.model, "language_model", self.model)
        return not language_model.config.is_encoder_decoder and self.kind not in WITH_TOKENIZER

    def settings(self, way: str) -> dict[str, Any]:
        """Return the arguments of `generate`. In a chat, whose prompt counts, `max_length` means new tokens."""
        own = self.model.generation_config
        if way == "defaults":
            is_short = own.max_length is not None and own.max_length <= LONGEST
            is_bounded = own.max_new_tokens is not None and own.max_new_tokens <= LONGEST
            return {} if is_short or is_bounded else {"max_new_tokens": LONGEST}
        settings = dict(WAYS[way])
        if way == "course" and self.is_decoder_only:
            settings["max_new_tokens"] = settings.pop("max_length")
        return settings

    def inputs(self, image: np.ndarray, prompt: str | None = None) -> dict[str, Tensor]:
        """Return the inputs of `generate` for an RGB image, uint8 [height, width, 3], and a prompt."""
        picture = Image.fromarray(image)
        if self.kind in WITH_TOKENIZER:
            found = {"pixel_values": self._images(picture, return_tensors="pt")["pixel_values"]}
            if prompt is not None:
                found |= self._prompt(prompt)
        elif getattr(self._processor, "chat_template", None) is not None:
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            text = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            found = dict(self._processor(text=text, images=[picture], return_tensors="pt"))
        else:
            text = {} if prompt is None else {"text": prompt}
            found = dict(self._processor(images=picture, return_tensors="pt", **text))
        return {
            name: tensor.to(self.model.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in found.items()
        }

    def _prompt(self, prompt: str) -> dict[str, Tensor]:
        ids: Tensor
        if self.kind == "blip":
            return dict(self.tokenizer(prompt, return_tensors="pt", return_token_type_ids=False))
        ids = self.tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        if self.kind == "git":
            return {"input_ids": torch.cat([torch.tensor([[self.tokenizer.cls_token_id]]), ids], dim=1)}
        return {"decoder_input_ids": ids}

    @torch.inference_mode()
    def generate(
        self, image: np.ndarray, settings: dict[str, Any], prompt: str | None = None, *, seed: int = 0
    ) -> list[int]:
        """Return the best caption's token ids, without the prompt that a decoder-only model repeats."""
        inputs = self.inputs(image, prompt)
        skipped = inputs["input_ids"].shape[1] if self.is_decoder_only and "input_ids" in inputs else 0
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice on the checkpoint's own settings
            torch.manual_seed(seed)  # for checkpoints that sample
            ids: list[int] = self.model.generate(**inputs, **settings)[0].tolist()[skipped:]
        return ids

    def text(self, ids: list[int]) -> str:
        text: str = self.tokenizer.batch_decode([ids], skip_special_tokens=True)[0].strip()
        return text


class Qwen2VL:
    """Qwen2-VL's processor for one image, without its video processor, which requires torchvision."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, **LOCAL)
        self.chat_template = self.tokenizer.chat_template
        self.apply_chat_template = partial(self.tokenizer.apply_chat_template, tokenize=False)
        self._images: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", **LOCAL)

    def __call__(self, text: str, images: list[Image.Image], return_tensors: str) -> dict[str, Tensor]:
        found = dict(self._images(images, return_tensors=return_tensors))
        places = int(found["image_grid_thw"].prod()) // self._images.merge_size**2
        encoded = self.tokenizer(text.replace(IMAGE_PAD, IMAGE_PAD * places), return_tensors=return_tensors)
        is_image = encoded["input_ids"] == self.tokenizer.convert_tokens_to_ids(IMAGE_PAD)
        return found | dict(encoded) | {"mm_token_type_ids": is_image.int()}


def smolvlm(folder: Path) -> Any:
    """Idefics3's processor, which handles images in the same way and does not require torchvision."""
    images: Any = AutoImageProcessor.from_pretrained(folder, backend="pil", **LOCAL)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, **LOCAL)
    length = json.loads((folder / "processor_config.json").read_text())["image_seq_len"]
    return Idefics3Processor(images, tokenizer, image_seq_len=length, chat_template=tokenizer.chat_template)


WITHOUT_VIDEO: dict[str, Callable[[Path], Any]] = {"qwen2_vl": Qwen2VL, "smolvlm": smolvlm}


def japanese(folder: Path) -> dict[str, str]:
    """Return tokenizer options that avoid MeCab: decoding needs none of its 250 MB dictionary."""
    file = folder / "tokenizer_config.json"
    is_japanese = file.exists() and "BertJapaneseTokenizer" in file.read_text()
    return {"word_tokenizer_type": "basic"} if is_japanese else {}


def repair_sinusoidal_positions(model: Any) -> None:
    """Recompute TrOCR's sinusoidal positions: transformers 5.23 leaves them on the meta device and then fails."""
    for module in model.modules():
        if isinstance(module, TrOCRSinusoidalPositionalEmbedding):
            count, width = module.weights.shape
            module.weights = module.get_embedding(count, width, module.padding_idx)


def sample_images(count: int = 4) -> list[np.ndarray]:
    """Return different RGB images, uint8 [height, width, 3]: coloured fields and gradients with edges."""
    images = []
    for seed in range(count):
        generator = np.random.default_rng(seed)
        fields = Image.fromarray(generator.integers(0, 256, (3, 4, 3), dtype=np.uint8))
        images.append(
            np.asarray(
                fields.resize((96 + 8 * seed, 72), Image.Resampling.BILINEAR if seed % 2 else Image.Resampling.NEAREST)
            )
        )
    return images
