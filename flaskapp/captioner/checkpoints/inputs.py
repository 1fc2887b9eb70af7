"""Images and a prompt -> what a model is given.

Two kinds: models that take pixels of one size (`PixelInputs`), and those whose processor makes images and text into
one set of inputs (`ProcessorInputs`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor, stack, tensor

TokenIds = tuple[int, ...]

# The prompt of models that need one, where a request has none. Their authors use these.
PROMPTS = {"florence2": "<CAPTION>", "kosmos-2": "An image of"}
CHAT_PROMPT = "Can you describe this image?"


class ModelInputs(Protocol):
    """How a model is given images and text. `preprocess` may run in any thread, the rest in the model's."""

    @property
    def start(self) -> TokenIds:
        """What the decoder is given where there is no prompt."""

    @property
    def default_prompt(self) -> str | None:
        """The prompt of requests that have none, if the model needs one."""

    @property
    def prompt_counts(self) -> bool:
        """Whether `max_length` counts the prompt's tokens. Those of a chat are too many."""

    @property
    def image_processor(self) -> Any:
        """transformers' image processor, or None."""

    @property
    def encode_prompt(self) -> Callable[[str], TokenIds] | None:
        """The prompt of a request -> what the decoder is given. None: the model takes no text."""

    def preprocess(self, image: np.ndarray) -> Any:
        """An image, uint8 [height, width, 3] in RGB -> what `collate` takes."""

    def collate(self, images: Sequence[Any], prompt: str | None, prompt_ids: TokenIds) -> dict[str, Tensor]:
        """Preprocessed images -> the arguments of `generate` for a batch with one prompt."""

    def prompt_length(self, arguments: dict[str, Tensor]) -> int:
        """How many of the token ids that `generate` returns repeat a prompt that is no part of the caption."""


@dataclass(frozen=True)
class PixelInputs:
    """Pixels of one size, [3, height, width], and a prompt that the decoder goes on from, if it takes any.

    `prompt_name` is the argument of `generate` that takes the prompt's ids, `after` what must follow them there.
    """

    processor: Any
    tokenizer: Any
    start: TokenIds
    prompt_name: str | None = None
    keeps_start: bool = True  # whether a prompt comes after the start token, or replaces it
    after: TokenIds = ()

    default_prompt: str | None = None
    prompt_counts: bool = True

    @property
    def encode_prompt(self) -> Callable[[str], TokenIds] | None:
        return self._encode if self.prompt_name else None

    @property
    def image_processor(self) -> Any:
        return self.processor

    def _encode(self, prompt: str) -> TokenIds:
        ids = tuple(self.tokenizer(prompt, add_special_tokens=False).input_ids)
        return (*self.start, *ids) if self.keeps_start else ids or self.start

    def preprocess(self, image: np.ndarray) -> Tensor:
        """fp32 [3, height, width]"""
        pixels: Tensor = self.processor(image, return_tensors="pt", input_data_format="channels_last").pixel_values[0]
        return pixels

    def collate(self, images: Sequence[Tensor], prompt: str | None, prompt_ids: TokenIds) -> dict[str, Tensor]:
        arguments = {"pixel_values": stack(list(images))}
        if self.prompt_name and prompt is not None:
            arguments[self.prompt_name] = tensor([[*prompt_ids, *self.after]] * len(images))
        return arguments

    def prompt_length(self, arguments: dict[str, Tensor]) -> int:
        return 0


class ProcessorInputs:
    """What a processor makes of images and text together. It takes the images as they are, all at once."""

    def __init__(self, processor: Any, tokenizer: Any, model_type: str, *, is_encoder_decoder: bool) -> None:
        self._processor, self._is_encoder_decoder = processor, is_encoder_decoder
        self.start: TokenIds = (0,)
        self.prompt_counts = is_encoder_decoder
        self._is_chat = getattr(processor, "chat_template", None) is not None
        self.default_prompt = CHAT_PROMPT if self._is_chat else PROMPTS.get(model_type)
        if not is_encoder_decoder:
            tokenizer.padding_side = "left"  # what is generated must follow the prompt directly
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token

    @property
    def image_processor(self) -> Any:
        return getattr(self._processor, "image_processor", None)

    @property
    def encode_prompt(self) -> Callable[[str], TokenIds] | None:
        return lambda _: self.start  # the processor encodes it, with the images

    def preprocess(self, image: np.ndarray) -> Image.Image:
        return Image.fromarray(image)

    def collate(self, images: Sequence[Image.Image], prompt: str | None, prompt_ids: TokenIds) -> dict[str, Tensor]:
        padding = {"padding": True} if len(images) > 1 else {}
        if self._is_chat:
            content = [{"type": "image"}, {"type": "text", "text": prompt}]
            text = self._processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True
            )
            nested = [[image] for image in images]
            return dict(self._processor(text=[text] * len(images), images=nested, return_tensors="pt", **padding))
        if prompt is not None:
            return dict(
                self._processor(text=[prompt] * len(images), images=list(images), return_tensors="pt", **padding)
            )
        return dict(self._processor(images=list(images), return_tensors="pt"))

    def prompt_length(self, arguments: dict[str, Tensor]) -> int:
        if self._is_encoder_decoder or "input_ids" not in arguments:
            return 0
        return arguments["input_ids"].shape[1]
