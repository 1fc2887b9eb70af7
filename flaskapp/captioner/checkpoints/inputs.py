"""Images and a prompt -> a model's inputs.

There are two kinds: models that take pixels of one size (`PixelInputs`), and models whose processor encodes images and
text together (`ProcessorInputs`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor, stack, tensor

TokenIds = tuple[int, ...]

# Default prompts of models that need one, as their authors use them.
PROMPTS = {"florence2": "<CAPTION>", "kosmos-2": "An image of"}
CHAT_PROMPT = "Can you describe this image?"


class ModelInputs(Protocol):
    """Makes a model's inputs. `preprocess` may run in any thread, all else only in the model's thread."""

    @property
    def start(self) -> TokenIds:
        """The decoder's input without a prompt."""

    @property
    def default_prompt(self) -> str | None:
        """The prompt of requests without one, if the model needs one."""

    @property
    def prompt_counts(self) -> bool:
        """Whether `max_length` counts the prompt's tokens. False for a chat, which has too many."""

    @property
    def image_processor(self) -> Any:
        """The image processor of transformers, or None."""

    @property
    def image_token(self) -> str | None:
        """The token that stands for the image in a prompt, if the model has one."""

    @property
    def encode_prompt(self) -> Callable[[str], TokenIds] | None:
        """Encodes a prompt as the decoder's input. None: the model takes no text."""

    def preprocess(self, image: np.ndarray) -> Any:
        """Preprocess an RGB image, uint8 [height, width, 3], for `collate`."""

    def collate(self, images: Sequence[Any], prompt: str | None, prompt_ids: TokenIds) -> dict[str, Tensor]:
        """Preprocessed images -> the arguments of `generate` for a batch with one prompt."""

    def prompt_length(self, arguments: dict[str, Tensor]) -> int:
        """Return the number of token ids in the result of `generate` that repeat the prompt."""


@dataclass(frozen=True)
class PixelInputs:
    """Pixels of one size, [3, height, width], and for some models a prompt that the decoder continues.

    `prompt_name` is the argument of `generate` for the prompt's ids. `after` are the ids that must follow them.
    """

    processor: Any
    tokenizer: Any
    start: TokenIds
    prompt_name: str | None = None
    keeps_start: bool = True  # whether a prompt follows the start token; else it replaces it
    after: TokenIds = ()

    default_prompt: str | None = None
    prompt_counts: bool = True
    image_token: str | None = None

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
    """Inputs of a processor that encodes images and text together. It takes whole batches of unprocessed images."""

    def __init__(self, processor: Any, tokenizer: Any, model_type: str, *, is_encoder_decoder: bool) -> None:
        self._processor, self._is_encoder_decoder = processor, is_encoder_decoder
        self.start: TokenIds = (0,)
        self.prompt_counts = is_encoder_decoder
        self._is_chat = getattr(processor, "chat_template", None) is not None
        self.default_prompt = CHAT_PROMPT if self._is_chat else PROMPTS.get(model_type)
        if not is_encoder_decoder:
            tokenizer.padding_side = "left"  # the caption must follow the prompt directly
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token

    @property
    def image_processor(self) -> Any:
        return getattr(self._processor, "image_processor", None)

    @property
    def image_token(self) -> str | None:
        token = getattr(self._processor, "image_token", None)
        return None if token is None else str(token)

    @property
    def encode_prompt(self) -> Callable[[str], TokenIds] | None:
        return lambda _: self.start  # the processor encodes the prompt, with the images

    def preprocess(self, image: np.ndarray) -> Image.Image:
        return Image.fromarray(image)

    def collate(self, images: Sequence[Image.Image], prompt: str | None, prompt_ids: TokenIds) -> dict[str, Tensor]:
        padding = {"padding": True} if len(images) > 1 else {}
        if self._is_chat:
            text = self._chat_text(prompt)
            nested = [[image] for image in images]
            return dict(self._processor(text=[text] * len(images), images=nested, return_tensors="pt", **padding))
        if prompt is not None:
            return dict(
                self._processor(text=[prompt] * len(images), images=list(images), return_tensors="pt", **padding)
            )
        return dict(self._processor(images=list(images), return_tensors="pt"))

    def _chat_text(self, prompt: str | None) -> str:
        """Apply the chat template to the image and the prompt.

        Some templates take only text, and print a list of parts as it is: they get the image's token and the prompt.
        """
        parts: list[dict[str, str | None]] = [{"type": "image"}, {"type": "text", "text": prompt}]
        text = self._render(parts)
        return self._render(f"{self.image_token or ''}\n{prompt}") if str(parts) in text else text

    def _render(self, content: str | list[dict[str, str | None]]) -> str:
        message = {"role": "user", "content": content}
        return str(self._processor.apply_chat_template([message], add_generation_prompt=True))

    def prompt_length(self, arguments: dict[str, Tensor]) -> int:
        if self._is_encoder_decoder or "input_ids" not in arguments:
            return 0
        return arguments["input_ids"].shape[1]
