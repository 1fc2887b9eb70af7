"""Makes the arguments of `generate`, and refuses prompts that the model cannot take.

The model must not run on them: on CUDA, a token beyond the positions ends the process.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from flaskapp.captioner.checkpoints.inputs import ModelInputs
from flaskapp.captioner.generation import Generation
from flaskapp.errors import InvalidGeneration

SPECIAL = "Contains text with a special meaning for this model."


def collate(
    model: Any, tokenizer: Any, inputs: ModelInputs, images: Sequence[Any], generation: Generation
) -> dict[str, Tensor]:
    """Return the arguments of `generate` for a batch. Raise InvalidGeneration for a prompt that the model cannot take.

    Raises the processor's error if it also fails with the default prompt.
    """
    try:
        given = inputs.collate(images, generation.prompt, generation.prompt_ids)
    except Exception as error:  # processors raise ValueError, IndexError and others
        if generation.prompt in (None, inputs.default_prompt):
            raise
        inputs.collate(images, inputs.default_prompt, inputs.start)
        raise InvalidGeneration("prompt", SPECIAL) from error
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
    return dict(generation.arguments).get("max_new_tokens") or model.generation_config.max_new_tokens or 1
