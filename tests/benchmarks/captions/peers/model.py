"""The course's captioning steps, which every peer runs, on the checkpoint named by the variable CHECKPOINT."""

import io
import os
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

SETTINGS: dict[str, Any] = {"max_length": 16, "min_length": 16, "num_beams": 8}


class Model:
    def __init__(self) -> None:
        folder = os.environ["CHECKPOINT"]
        self.model = AutoModelForImageTextToText.from_pretrained(folder).eval()
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def caption(self, files: list[bytes]) -> list[str]:
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        pixels = self.processor(images=images, return_tensors="pt").pixel_values
        with torch.no_grad():
            tokens = self.model.generate(pixels, **SETTINGS)
        return [text.strip() for text in self.tokenizer.batch_decode(tokens, skip_special_tokens=True)]
