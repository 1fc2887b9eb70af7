"""The fallback for models and settings that the fast decoder does not support: transformers' `generate`, in batches."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from flaskapp.captioner.checkpoints.inputs import ModelInputs
from flaskapp.captioner.engine.prompts import collate, other_prompt_tokens
from flaskapp.captioner.engine.search import Result
from flaskapp.captioner.generation import Generation
from flaskapp.errors import CaptionFailed

# Neither clients nor operators need to act when a length is transformers' default.
warnings.filterwarnings("ignore", message="Using the model-agnostic default `max_length`")


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    inputs: ModelInputs,
    images: Sequence[Any],
    generation: Generation,
    on_step: Callable[[], bool] = lambda: False,
) -> list[list[Result]]:
    """Caption preprocessed images with one generation: `num_return_sequences` captions for each image.

    `on_step` is called at each step. Once it returns true, the generation stops.
    Raise CaptionFailed for logits that are not finite, and InvalidGeneration for a prompt that the model cannot take.
    """
    given = _on_device(collate(model, tokenizer, inputs, images, generation), model)
    stop = Stop(on_step)
    with _seeded(generation):
        output = model.generate(
            **given,
            **dict(generation.arguments),
            tokenizer=tokenizer,  # for stop strings
            logits_processor=LogitsProcessorList([FiniteCheck()]),
            stopping_criteria=StoppingCriteriaList([stop]),
            return_dict_in_generate=True,
            output_logits=generation.scores,
        )
    skipped = min(inputs.prompt_length(given), stop.prompt_length)  # a prompt given as embeddings is not returned
    others = other_prompt_tokens(tokenizer, inputs, given, generation)
    sums = _log_probabilities(model, output) if generation.scores else None
    results = [
        _result(ids, skipped, stop.prompt_length, None if sums is None else sums[number], generation)._replace(
            other_prompt_tokens=others
        )
        for number, ids in enumerate(output.sequences.tolist())
    ]
    count = generation.num_return_sequences
    return [results[start : start + count] for start in range(0, len(results), count)]


def _on_device(given: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    return {
        name: value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)
        for name, value in given.items()
    }


def _result(
    token_ids: list[int], skipped: int, prompt_length: int, log_probabilities: Tensor | None, generation: Generation
) -> Result:
    """Cut off the first `skipped` tokens, and the padding after the first generated end token."""
    generated = token_ids[prompt_length:]
    ends = (number for number, token in enumerate(generated, 1) if token in generation.eos_token_ids)
    length = next(ends, len(generated))
    total = 0.0 if log_probabilities is None else float(log_probabilities[:length].sum())
    return Result(token_ids[skipped : prompt_length + length], length, total)


def _log_probabilities(model: Any, output: Any) -> Tensor:
    """Return the model's own log-probability of each generated token: [sequences, generated]."""
    beams = getattr(output, "beam_indices", None)
    scores: Tensor = model.compute_transition_scores(output.sequences, output.logits, beams, normalize_logits=True)
    return scores


class Stop(StoppingCriteria):
    """Checks at each step whether to stop, and records the prompt's length: some models add tokens to the prompt."""

    def __init__(self, on_step: Callable[[], bool]) -> None:
        self._on_step = on_step
        self.prompt_length = -1

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        if self.prompt_length < 0:
            self.prompt_length = input_ids.shape[1] - 1
        return input_ids.new_full((len(input_ids),), self._on_step(), dtype=torch.bool)


class FiniteCheck(LogitsProcessor):
    """Raises CaptionFailed for scores of NaN or infinity. Minus infinity comes from other processors."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not bool((scores.amax(-1) < torch.inf).all()):
            raise CaptionFailed("the model's output is not a finite number")
        return scores


@contextmanager
def _seeded(generation: Generation) -> Iterator[None]:
    """Draw from a random stream for this request, and restore the process's stream afterwards."""
    with torch.random.fork_rng(enabled=generation.do_sample):
        if generation.do_sample and generation.seed is None:
            torch.seed()
        elif generation.do_sample:
            torch.manual_seed(generation.seed)
        yield
