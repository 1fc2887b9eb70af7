"""The course's captioning steps, which every peer runs, on the checkpoint named by the variable CHECKPOINT."""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

SETTINGS: dict[str, Any] = {"max_length": 16, "min_length": 16, "num_beams": 8}


class Model:
    """`kind` is the class that loads the model, with these options."""

    def __init__(self, folder: Path | None = None, kind: Any = AutoModelForImageTextToText, **options: Any) -> None:
        folder = folder or Path(os.environ["CHECKPOINT"])
        self.model = kind.from_pretrained(folder, **options)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # transformers 4 ignores the backend
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def caption(self, files: Sequence[bytes]) -> list[str]:
        texts = self.tokenizer.batch_decode(self.generate(files), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def generate(self, files: Sequence[bytes], **options: Any) -> Any:
        """Token ids, [images, tokens], unless the options ask for more."""
        images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
        pixels = self.processor(images=images, return_tensors="pt").pixel_values
        with torch.no_grad():
            return self.model.generate(pixels, **SETTINGS, **options)
