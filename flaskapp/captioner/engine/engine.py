"""Runs searches on a model. Each step generates one more token for every image. Images may be added at any time.

    add      encode the images; their searches start together at the next step
    step     run the decoder on the last token of every beam (first on the prompt: prefill), choose the next tokens,
             remove finished searches

Models and settings that the fast decoder does not support go through transformers' `generate`, on the same weights.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from flaskapp.captioner.checkpoints.load import LoadedCheckpoint
from flaskapp.captioner.engine.architectures import Parts, describe, take_apart
from flaskapp.captioner.engine.candidates import propose
from flaskapp.captioner.engine.decoder import Decoder
from flaskapp.captioner.engine.defaults import GenerationDefaults
from flaskapp.captioner.engine.description import NotDescribed, Packer
from flaskapp.captioner.engine.encoder import replace_layers
from flaskapp.captioner.engine.generate import generate
from flaskapp.captioner.engine.kv_cache import KVCache
from flaskapp.captioner.engine.linear import makers, repack
from flaskapp.captioner.engine.own_settings import own_configuration
from flaskapp.captioner.engine.precision import attention_dtype, max_encoder_pixels
from flaskapp.captioner.engine.prompts import count_positions, find_needed_prompt, refusal
from flaskapp.captioner.engine.search import Result, Search, begin
from flaskapp.captioner.generation import Caption, Generation, GenerationSettings
from flaskapp.errors import FlaskappError, InvalidGeneration

SIDE = 224  # pixels of the sides of the image that prompts are tried with

_threads = 0  # the last number set: OpenMP's setting is per thread, MKL's is per process


class Group(NamedTuple):
    """Searches that started together, in the order of the cache's images."""

    searches: list[Search]
    cache: KVCache


class Engine:
    """A loaded checkpoint, and the searches that run on it. Only one thread at a time may use it; see `sibling`.

    `pinned` are the server's generation settings, which override the checkpoint's.
    """

    def __init__(
        self,
        checkpoint: LoadedCheckpoint,
        precision: str,
        device: torch.device,
        pinned: GenerationSettings = GenerationSettings(),  # noqa: B008
    ) -> None:
        self._model, self._tokenizer, self._inputs = checkpoint.model, checkpoint.tokenizer, checkpoint.inputs
        self._device = device
        layers = makers(precision, device)
        packer = Packer(layers)
        cross_kv_dtype = attention_dtype(precision, self._model.dtype)
        self._max_encoder_pixels = max_encoder_pixels(precision, device)
        reason = None
        self._parts: Parts | None = None
        self._decoder: Decoder | None = None
        try:
            parts = take_apart(self._model)
            replace_layers(parts.encoder, packer, cross_kv_dtype)
            description = describe(parts, packer)
            _check_start(self._inputs.start, description.positions.padding, self._model.generation_config)
            self._decoder = Decoder(description, cross_kv_dtype)
            self._parts = parts
        except NotDescribed as error:
            reason = str(error)
        is_reduced = precision in ("int8", "bf16") and device.type == "cpu"
        if self._decoder is not None or is_reduced:  # the code of other models may access their layers' weights
            repack(self._model, layers, self._model.get_output_embeddings())
        self.defaults = GenerationDefaults(
            own=own_configuration(self._model),
            pinned=pinned,
            start=self._inputs.start,
            positions=self._decoder.positions if self._decoder is not None else count_positions(self._model),
            encode_prompt=self._inputs.encode_prompt,
            default_prompt=self._inputs.default_prompt,
            prompt_counts=self._inputs.prompt_counts,
            has_text_input=not self._model.config.is_encoder_decoder,
            no_fast_decoder=reason,
        )
        self._model.to(device)
        if self._decoder is not None:
            self._decoder.to(device)
        self._added: list[tuple[Search, Tensor]] = []  # new searches with their encoded images, until the next step
        self._groups: list[Group] = []

    def sibling(self) -> "Engine":
        """Return an engine on the same model, with its own searches, for another thread."""
        other = copy.copy(self)
        other._added, other._groups = [], []
        return other

    def use_threads(self, number: int) -> None:
        """Set the number of threads that the calling thread computes with."""
        global _threads
        if number != torch.get_num_threads() or number != _threads:
            torch.set_num_threads(number)
            _threads = number

    def resolve(self, settings: GenerationSettings) -> Generation:
        """Merge a request's settings with the defaults. Raise InvalidGeneration for settings beyond this model."""
        return self.defaults.resolve(settings)

    @property
    def running(self) -> int:
        """Images whose searches are not finished."""
        return len(self._added) + sum(len(group.searches) for group in self._groups)

    @torch.inference_mode()
    def add(
        self,
        images: Sequence[Tensor],
        generations: Sequence[Generation],
        on_progress: Callable[[], object] = lambda: None,
    ) -> list[Search]:
        """Encode preprocessed images, [3, height, width], and add a search for each. Add all or none.

        `on_progress` is called after each encoder call.
        """
        encoded = self._encode(torch.stack(list(images)), on_progress)
        searches = [begin(generation) for generation in generations]
        self._added += zip(searches, encoded, strict=True)
        return searches

    def images_per_encoder_call(self, image: Tensor) -> int:
        """Return the most images that are encoded together, for images of the size of this one: [3, height, width]."""
        return max(1, self._max_encoder_pixels // image[0].numel())

    def _encode(self, pixels: Tensor, on_progress: Callable[[], object]) -> Tensor:
        """[images, 3, height, width] -> encoder output, [images, patches, width]."""
        assert self._parts is not None, "this model has no fast decoder"
        pixels = pixels.to(self._device, self._model.dtype)
        encoded = []
        for part in torch.split(pixels, self.images_per_encoder_call(pixels[0])):
            encoded.append(self._parts.encode(part))
            on_progress()
        return torch.cat(encoded)

    @torch.inference_mode()
    def step(self) -> list[Search]:
        """Generate one more token for every beam of every image. Return the finished searches."""
        assert self._decoder is not None, "this model has no fast decoder"
        self._groups += self._begin(self._decoder)
        tokens = [token for group in self._groups for search in group.searches for token in _next_input(search, group)]
        caches = [group.cache for group in self._groups]
        logits = self._decoder(torch.tensor(tokens, device=self._device), caches).float()
        parts = torch.split(logits, [len(group.searches) * len(group.searches[0].beams) for group in self._groups])
        done = [search for group, part in zip(self._groups, parts, strict=True) for search in _advance(group, part)]
        self._groups = [group for group in self._groups if group.searches]
        return done

    def _begin(self, decoder: Decoder) -> list[Group]:
        """Group the new searches by the settings that must be equal within a group."""
        kinds: dict[tuple[Any, ...], list[tuple[Search, Tensor]]] = {}
        for search, encoded in self._added:
            each = search.generation
            kinds.setdefault((len(each.prompt_ids), each.rows, each.do_sample, each.num_beams), []).append(
                (search, encoded)
            )
        groups = []
        for (prompt_length, rows, *_), added in kinds.items():
            encoded = torch.stack([encoded for _, encoded in added])
            searches = [search for search, _ in added]
            steps = max(search.generation.max_length for search in searches) - prompt_length
            groups.append(Group(searches, decoder.new_cache(encoded, rows, prompt_length, steps)))
        self._added = []
        return groups

    @torch.inference_mode()
    def drop(self, search: Search) -> None:
        """Remove a search whose result is no longer needed."""
        self._added = [(added, encoded) for added, encoded in self._added if added is not search]
        for group in self._groups:
            if search in group.searches:
                _remove(group, group.searches.index(search))
        self._groups = [group for group in self._groups if group.searches]

    def clear(self) -> None:
        """Remove all searches, after one of them failed."""
        self._added, self._groups = [], []

    def generate(
        self, images: Sequence[Any], generation: Generation, on_step: Callable[[], bool] = lambda: False
    ) -> list[list[Result]]:
        """Caption preprocessed images by `generate`. Stop once `on_step` returns true.

        Raise InvalidGeneration for a prompt with which the model fails, if it captions the images with another one.
        """
        try:
            return generate(self._model, self._tokenizer, self._inputs, images, generation, on_step)
        except (FlaskappError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # processors and models raise ValueError, IndexError and others
            usual = self.resolve(GenerationSettings(prompt=self.defaults.needed_prompt))
            other = replace(generation, prompt=usual.prompt, prompt_ids=usual.prompt_ids)
            if generation.prompt in (None, usual.prompt) or not self._works(images, other):
                raise
            raise refusal(usual.prompt) from error

    def find_needed_prompt(self) -> str | None:
        """Return an example of a prompt if the model needs one and neither the checkpoint nor the server sets it."""
        silent = self.defaults.effective
        if self._inputs.encode_prompt is None or silent.prompt is not None or silent.fallback is None:
            return None
        try:
            image = self._inputs.preprocess(np.full((SIDE, SIDE, 3), 128, np.uint8))
        except Exception:  # the warm-up fails in the same way, and reports it
            return None
        return find_needed_prompt(lambda prompt: self._works_with(prompt, image), self._inputs.image_token)

    def _works_with(self, prompt: str | None, image: Any) -> bool:
        """Whether the model generates a token for a preprocessed image with this prompt, and the default settings."""
        try:
            generation = self.resolve(GenerationSettings(prompt=prompt))
        except InvalidGeneration:
            return False
        return self._works([image], generation)

    def _works(self, images: Sequence[Any], generation: Generation) -> bool:
        """Whether the model generates a token for preprocessed images."""
        arguments = {name: value for name, value in generation.arguments if name != "max_length"}
        one_token = replace(generation, arguments=tuple((arguments | {"max_new_tokens": 1}).items()))
        try:
            generate(self._model, self._tokenizer, self._inputs, images, one_token)
        except Exception:  # models that miss a prompt fail in many ways
            return False
        return True

    def text_so_far(self, search: Search) -> str | None:
        """Return the words of a running search that are final. None: with several beams, all may still change."""
        if search.generation.rows > 1 or search.generation.num_beams > 1:
            return None
        text = self._tokenizer.decode(search.beams[0], skip_special_tokens=True).strip()
        return str(text).rpartition(" ")[0]  # the last word, or a character of several tokens, may be unfinished

    def to_captions(self, results: Sequence[Result], generation: Generation) -> list[Caption]:
        """Decode the results of one image."""
        texts = self._tokenizer.batch_decode([result.token_ids for result in results], skip_special_tokens=True)
        return [_caption(text, result, generation) for text, result in zip(texts, results, strict=True)]


def _caption(text: str, result: Result, generation: Generation) -> Caption:
    score = result.log_probability / result.tokens if generation.scores and result.tokens else None
    ends = generation.eos_token_ids
    is_cut = bool(ends) and result.token_ids[-1] not in ends
    return Caption(text.strip(), tuple(result.token_ids), result.tokens, score, is_cut, result.other_prompt_tokens)


def _next_input(search: Search, group: Group) -> list[int]:
    """Return the decoder's input for a search: first the prompt, then the last token of each beam."""
    return search.beams[0] if group.cache.length == 0 else [beam[-1] for beam in search.beams]


def _advance(group: Group, logits: Tensor) -> list[Search]:
    """Choose the next tokens by the logits [searches * beams, vocabulary]. Remove and return finished searches."""
    parents = [
        search.advance(candidates)
        for search, candidates in zip(group.searches, propose(logits, group.searches), strict=True)
    ]
    done = [place for place, search in enumerate(group.searches) if search.is_done]
    finished = [group.searches[place] for place in done]
    for place in reversed(done):  # from the end: the last search takes the place of the removed one
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


def _check_start(start: tuple[int, ...], padding: int | None, generation: Any) -> None:
    """Raise NotDescribed for a start token that gets no position: `generate` without a KV cache skips padding."""
    if padding in start and generation.use_cache is False:
        raise NotDescribed("its start token is its padding token, and its use_cache is false")
