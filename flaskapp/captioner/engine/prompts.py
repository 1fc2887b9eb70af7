"""Prompts of models that run by `generate`: which ones a model takes, and how many tokens they have.

Neither a model's configuration nor its processor says which prompts it takes. Those that are too long are refused
before the model runs: on CUDA, a token beyond the positions ends the process. Others are found by trying.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from flaskapp.captioner.checkpoints.inputs import ModelInputs
from flaskapp.captioner.engine.own_settings import own_configuration
from flaskapp.captioner.generation import Generation
from flaskapp.errors import InvalidGeneration

EXAMPLE = "Describe this image"


def find_needed_prompt(works: Callable[[str | None], bool], image_token: str | None) -> str | None:
    """Return an example of a prompt if the model captions an image only with one.

    `works` tells whether it does with a prompt. Return None if it needs none, or fails also with one. Some models need
    their image token in the prompt.
    """
    examples = [EXAMPLE, *([f"{image_token} {EXAMPLE}"] if image_token else [])]
    return next((prompt for prompt in (None, *examples) if works(prompt)), None)


def refusal(working: str | None) -> InvalidGeneration:
    """Return the error for a prompt with which the model fails, unlike with the `working` one."""
    instead = "without one" if working is None else f"with {working!r}"
    return InvalidGeneration("prompt", f"The model fails with this prompt, but not {instead}.")


def collate(
    model: Any, tokenizer: Any, inputs: ModelInputs, images: Sequence[Any], generation: Generation
) -> dict[str, Tensor]:
    """Return the arguments of `generate` for a batch. Raise InvalidGeneration for a prompt with too many tokens."""
    given = inputs.collate(images, generation.prompt, generation.prompt_ids)
    if generation.prompt is not None and "input_ids" in given:
        _check_length(model, generation, given["input_ids"].shape[1], _count(tokenizer, generation.prompt))
    return given


def other_prompt_tokens(
    tokenizer: Any, inputs: ModelInputs, given: Mapping[str, Tensor], generation: Generation
) -> int:
    """Return the number of the prompt's tokens that the token ids of the caption lack.

    They have those of a prompt that the decoder continues, but not those of an instruction.
    """
    is_instruction = "input_ids" in given and generation.prompt_ids == inputs.start
    return _count(tokenizer, generation.prompt) if is_instruction and generation.prompt is not None else 0


def count_positions(model: Any) -> int | None:
    """Return the most tokens of a sequence of an encoder-decoder's decoder, or None if it is unknown.

    Longer sequences fail; on CUDA, they end the process.
    """
    decoder = getattr(model, "decoder", None)
    positions = getattr(getattr(decoder, "config", None), "max_position_embeddings", None)
    if positions is None:
        return None
    tables = [layer for name, layer in decoder.named_modules() if name.endswith("position_embeddings")]  # type: ignore[union-attr]
    padding = next((table.padding_idx for table in tables if isinstance(table, nn.Embedding)), None)
    return int(positions) if padding is None else int(positions) - padding - 1  # as RoBERTa counts


def _count(tokenizer: Any, prompt: str) -> int:
    return len(tokenizer(prompt, add_special_tokens=False).input_ids)


def _check_length(model: Any, generation: Generation, length: int, prompt: int) -> None:
    """Raise InvalidGeneration if the input of `length` tokens exceeds the positions because of the `prompt` tokens.

    The input may be longer because of the image alone: models with rotary positions accept that.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions is None:
        return
    length += _new_tokens(model, generation)
    if length - prompt <= positions < length:
        most = positions - (length - prompt)
        raise InvalidGeneration("prompt", f"Must have at most {most} tokens, for this model and these settings.")


def _new_tokens(model: Any, generation: Generation) -> int:
    """Return the number of generated tokens that take positions of the input, at least one. None do in an encoder."""
    if model.config.is_encoder_decoder:
        return 0
    return dict(generation.arguments).get("max_new_tokens") or own_configuration(model).get("max_new_tokens") or 1
