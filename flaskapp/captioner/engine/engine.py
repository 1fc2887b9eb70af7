"""The model at work. Images may join at any time; each step writes one more token for all that are in.

    add      encode the pictures; their searches begin, in step with one another, at the next step
    step     run the decoder on the last token of every beam, choose what to go on with, let go of what is done

What is not a search, or not by GPT-2, goes through transformers' `generate`, on the same weights.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel, StoppingCriteria, StoppingCriteriaList

from flaskapp.captioner.checkpoints.load import LoadedCheckpoint
from flaskapp.captioner.engine.beam_search import Search, propose
from flaskapp.captioner.engine.decoder import Cache, Decoder
from flaskapp.captioner.engine.encoder import join_products
from flaskapp.captioner.engine.linear import maker, repack
from flaskapp.captioner.generation import GenerationSettings
from flaskapp.errors import InvalidGeneration

# What a checkpoint's generation_config may say without changing what a search does here.
UNDERSTOOD = {
    "_from_model_config", "bos_token_id", "decoder_start_token_id", "eos_token_id", "output_attentions",
    "output_hidden_states", "pad_token_id", "return_dict_in_generate", "transformers_version", "use_cache",
}  # fmt: skip
ALWAYS_SET = set(GenerationSettings().for_generate())


class Group(NamedTuple):
    """Searches that began together, with one number of beams, in the order of the cache's images."""

    searches: list[Search]
    cache: Cache


class Engine:
    """A loaded checkpoint, and the searches that run on it. One thread at a time may use it."""

    def __init__(self, checkpoint: LoadedCheckpoint, precision: str, device: torch.device) -> None:
        self._model = checkpoint.model
        self._tokenizer = checkpoint.tokenizer
        self._device = device
        attention = attention_dtype(precision, self._model.dtype)
        join_products(self._model.encoder, attention)
        repack(self._model, maker(precision, device))
        self._decoder = Decoder(self._model.decoder, attention) if _is_plain_gpt2(self._model) else None
        generation = self._model.generation_config
        start = generation.decoder_start_token_id
        self._start: int = generation.bos_token_id if start is None else start
        ends = generation.eos_token_id
        self._ends = frozenset([] if ends is None else np.atleast_1d(ends).tolist())
        self._added: list[tuple[Search, Tensor]] = []  # with what the encoder made of the pictures, until the next step
        self._groups: list[Group] = []

    def move_to_device(self) -> None:
        """To be done after a fork: CUDA, once it is used, does not survive one."""
        self._model.to(self._device)

    def check(self, settings: GenerationSettings) -> None:
        """Raises InvalidGeneration for settings beyond what this model can do."""
        positions = getattr(self._model.config.decoder, "max_position_embeddings", settings.max_length)
        if settings.max_length > positions:
            raise InvalidGeneration("max_length", f"Must not be more than {positions}, the positions of this model.")

    def can_search(self, settings: GenerationSettings) -> bool:
        """Whether `add` and `step` take these settings; else it is `generate` that does."""
        return self._decoder is not None and not settings.do_sample

    @property
    def running(self) -> int:
        """How many images are in."""
        return len(self._added) + sum(len(group.searches) for group in self._groups)

    @torch.inference_mode()
    def add(self, pixels: Sequence[Tensor], settings: Sequence[GenerationSettings]) -> list[Search]:
        """A search for each image, [3, height, width] as the preprocessing gives it. All or none are added."""
        encoded = self._encode(torch.stack(list(pixels)))
        searches = [Search(each, self._start, self._ends) for each in settings]
        self._added += zip(searches, encoded, strict=True)
        return searches

    def _encode(self, pixels: Tensor) -> Tensor:
        """[images, 3, height, width] -> what the decoder looks at, [images, patches, width]."""
        pixels = pixels.to(self._device, self._model.dtype)
        # A CPU is as fast at one picture as at many, and faster while what it computes stays in its cache.
        parts = torch.split(pixels, 1 if self._device.type == "cpu" else len(pixels))
        encoded = torch.cat([self._model.encoder(pixel_values=part).last_hidden_state for part in parts])
        if hasattr(self._model, "enc_to_dec_proj"):
            encoded = self._model.enc_to_dec_proj(encoded)
        return encoded

    @torch.inference_mode()
    def step(self) -> list[Search]:
        """One more token for every beam of every image. Returns the searches that are done with it."""
        assert self._decoder is not None, "ask can_search"
        self._groups += self._begin(self._decoder)
        last = [beam[-1] for group in self._groups for search in group.searches for beam in search.beams]
        tokens = torch.tensor(last, device=self._device)
        logits = self._decoder(tokens, [group.cache for group in self._groups]).float()
        done = []
        for group, part in zip(
            self._groups, torch.split(logits, [group.cache.rows for group in self._groups]), strict=True
        ):
            done += _advance(group, part)
        self._groups = [group for group in self._groups if group.searches]
        return done

    def _begin(self, decoder: Decoder) -> list[Group]:
        """What was added since the last step: a group for each number of beams."""
        groups = []
        for beams in sorted({search.settings.num_beams for search, _ in self._added}):
            added = [(search, picture) for search, picture in self._added if search.settings.num_beams == beams]
            searches, pictures = map(list, zip(*added, strict=True))
            longest = max(search.settings.max_length for search in searches)
            groups.append(Group(searches, decoder.look_at(torch.stack(pictures), beams, longest)))
        self._added = []
        return groups

    @torch.inference_mode()
    def drop(self, search: Search) -> None:
        """Forget a search that nobody waits for any more."""
        self._added = [(added, picture) for added, picture in self._added if added is not search]
        for group in self._groups:
            if search in group.searches:
                _remove(group, group.searches.index(search))
        self._groups = [group for group in self._groups if group.searches]

    def clear(self) -> None:
        """Forget all searches, after one of them failed."""
        self._added, self._groups = [], []

    @torch.inference_mode()
    def generate(
        self, pixels: Tensor, settings: GenerationSettings, is_given_up: Callable[[], bool] = lambda: False
    ) -> list[list[int]]:
        """The captions of one image by transformers' own means, as token ids. Once it is given up they break off."""
        with _seeded(settings.seed):
            tokens = self._model.generate(
                pixels[None].to(self._device, self._model.dtype),
                **settings.for_generate(),
                stopping_criteria=StoppingCriteriaList([GivenUp(is_given_up)]),
            )  # [sequences, length]
        return [self._without_padding(sequence) for sequence in tokens.tolist()]

    def _without_padding(self, sequence: list[int]) -> list[int]:
        """Up to the first end after the start, which may be the same token."""
        length = next((number for number, token in enumerate(sequence[1:], 2) if token in self._ends), None)
        return sequence[:length]

    def to_text(self, sequences: list[list[int]]) -> list[str]:
        """Captions from token ids."""
        return [text.strip() for text in self._tokenizer.batch_decode(sequences, skip_special_tokens=True)]


class GivenUp(StoppingCriteria):
    """Ends a generation that nobody waits for any more."""

    def __init__(self, is_given_up: Callable[[], bool]) -> None:
        self._is_given_up = is_given_up

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        return input_ids.new_full((len(input_ids),), self._is_given_up(), dtype=torch.bool)


def _advance(group: Group, logits: Tensor) -> list[Search]:
    """Choose the next tokens by the logits [searches * beams, vocabulary]; let go of the searches that are done."""
    parents = [
        search.advance(candidates)
        for search, candidates in zip(group.searches, propose(logits, group.searches), strict=True)
    ]
    done = [place for place, search in enumerate(group.searches) if search.is_done]
    finished = [group.searches[place] for place in done]
    for place in reversed(done):  # from the end, where the last takes the place of the one that goes
        _remove(group, place)
        parents[place] = parents[-1]
        parents.pop()
    if parents:
        group.cache.reorder(logits.new_tensor(parents, dtype=torch.int64))
    return finished


def _remove(group: Group, place: int) -> None:
    group.cache.drop(place)
    group.searches[place] = group.searches[-1]
    group.searches.pop()


def attention_dtype(precision: str, dtype: torch.dtype) -> torch.dtype:
    """What pictures are looked at in: with int8, half as many bytes if the processor multiplies them as they are."""
    return torch.bfloat16 if precision == "int8" and torch.cpu._is_avx512_bf16_supported() else dtype


def _is_plain_gpt2(model: Any) -> bool:
    """Whether the decoder is GPT-2 and the checkpoint asks `generate` for nothing that a search here would not do."""
    asked = model.generation_config.to_diff_dict().keys() - UNDERSTOOD - ALWAYS_SET
    return type(model.decoder) is GPT2LMHeadModel and not asked


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw from a random stream of the request's own, and leave the process's stream as it was."""
    with torch.random.fork_rng():
        if seed is None:
            torch.seed()
        else:
            torch.manual_seed(seed)
        yield
