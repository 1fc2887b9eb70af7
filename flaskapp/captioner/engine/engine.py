"""A model at work. Images may join at any time; each step generates one more token for all that are in.

    add      encode the images; their searches begin together at the next step
    step     run the decoder on the last token of every beam (at first on the prompt), choose what to go on with,
             let go of what is done

What has no description goes through transformers' `generate`, on the same weights.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from flaskapp.captioner.checkpoints.load import LoadedCheckpoint
from flaskapp.captioner.engine.architectures import Parts, describe, take_apart
from flaskapp.captioner.engine.candidates import propose
from flaskapp.captioner.engine.decoder import Decoder
from flaskapp.captioner.engine.defaults import GenerationDefaults
from flaskapp.captioner.engine.description import NotDescribed, Packer
from flaskapp.captioner.engine.encoder import replace_attention
from flaskapp.captioner.engine.generate import generate
from flaskapp.captioner.engine.kv_cache import KVCache
from flaskapp.captioner.engine.linear import makers, repack
from flaskapp.captioner.engine.precision import CpuCapabilities
from flaskapp.captioner.engine.search import Result, Search, begin
from flaskapp.captioner.generation import Caption, Generation, GenerationSettings

_cores = 0  # OpenMP has a number for each thread, MKL one for all: the last that was set


class Group(NamedTuple):
    """Searches that began together, in the order of the cache's images."""

    searches: list[Search]
    cache: KVCache


class Engine:
    """A loaded checkpoint, and the searches that run on it. One thread at a time may use it; see `beside`.

    `pinned` are the server's generation settings, which go before the checkpoint's own.
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
        cross_kv_dtype = attention_dtype(precision, self._model.dtype)
        reason = None
        self._parts: Parts | None = None
        self._decoder: Decoder | None = None
        try:
            parts = take_apart(self._model)
            replace_attention(parts.encoder, cross_kv_dtype)
            self._decoder = Decoder(describe(parts, Packer(layers)), cross_kv_dtype)
            self._parts = parts
        except NotDescribed as error:
            reason = str(error)
        is_reduced = precision in ("int8", "bf16") and device.type == "cpu"
        if self._decoder is not None or is_reduced:  # the code of other models may look into their layers
            repack(self._model, layers, self._model.get_output_embeddings())
        self.defaults = GenerationDefaults(
            own=_own_configuration(self._model),
            pinned=pinned,
            start=self._inputs.start,
            positions=self._decoder.positions if self._decoder is not None else None,
            encode_prompt=self._inputs.encode_prompt,
            default_prompt=self._inputs.default_prompt,
            prompt_counts=self._inputs.prompt_counts,
            has_text_input=not self._model.config.is_encoder_decoder,
            no_fast_decoder=reason,
        )
        self._model.to(device)
        if self._decoder is not None:
            self._decoder.to(device)
        self._added: list[tuple[Search, Tensor]] = []  # with their encoded images, until the next step
        self._groups: list[Group] = []

    def beside(self) -> "Engine":
        """The same model, with searches of its own: for another thread."""
        other = copy.copy(self)
        other._added, other._groups = [], []
        return other

    def use_cores(self, number: int) -> None:
        """Let the calling thread compute on so many cores."""
        global _cores
        if number != torch.get_num_threads() or number != _cores:
            torch.set_num_threads(number)
            _cores = number

    def resolve(self, settings: GenerationSettings) -> Generation:
        """What a request amounts to. Raises InvalidGeneration for what is beyond this model."""
        return self.defaults.resolve(settings)

    @property
    def running(self) -> int:
        """How many images are in."""
        return len(self._added) + sum(len(group.searches) for group in self._groups)

    @torch.inference_mode()
    def add(
        self,
        images: Sequence[Tensor],
        generations: Sequence[Generation],
        on_progress: Callable[[], object] = lambda: None,
    ) -> list[Search]:
        """A search for each preprocessed image, [3, height, width]. All or none are added.

        `on_progress` is called when some of them are encoded.
        """
        encoded = self._encode(torch.stack(list(images)), on_progress)
        searches = [begin(generation) for generation in generations]
        self._added += zip(searches, encoded, strict=True)
        return searches

    def _encode(self, pixels: Tensor, on_progress: Callable[[], object]) -> Tensor:
        """[images, 3, height, width] -> what the decoder attends to, [images, patches, width]."""
        assert self._parts is not None, "this model has no fast decoder"
        pixels = pixels.to(self._device, self._model.dtype)
        # A CPU is as fast at one image as at many, and faster while what it computes stays in its cache.
        encoded = []
        for part in torch.split(pixels, 1 if self._device.type == "cpu" else len(pixels)):
            encoded.append(self._parts.encode(part))
            on_progress()
        return torch.cat(encoded)

    @torch.inference_mode()
    def step(self) -> list[Search]:
        """One more token for every beam of every image. Returns the searches that are done with it."""
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
        """Group what was added since the last step by what must be equal among searches that go in step."""
        kinds: dict[tuple[Any, ...], list[tuple[Search, Tensor]]] = {}
        for search, encoded in self._added:
            each = search.generation
            kinds.setdefault((len(each.prompt_ids), each.rows, each.do_sample, each.num_beams), []).append(
                (search, encoded)
            )
        groups = []
        for (prompt_length, rows, *_), added in kinds.items():
            encoded = torch.stack([encoded for _, encoded in added])
            groups.append(Group([search for search, _ in added], decoder.new_cache(encoded, rows, prompt_length)))
        self._added = []
        return groups

    @torch.inference_mode()
    def drop(self, search: Search) -> None:
        """Forget a search whose result is not needed any more."""
        self._added = [(added, encoded) for added, encoded in self._added if added is not search]
        for group in self._groups:
            if search in group.searches:
                _remove(group, group.searches.index(search))
        self._groups = [group for group in self._groups if group.searches]

    def clear(self) -> None:
        """Forget all searches, after one of them failed."""
        self._added, self._groups = [], []

    def generate(
        self, images: Sequence[Any], generation: Generation, on_step: Callable[[], bool] = lambda: False
    ) -> list[list[Result]]:
        """The captions of preprocessed images by `generate`. Once `on_step` is true, it breaks off."""
        return generate(self._model, self._tokenizer, self._inputs, images, generation, on_step)

    def text_so_far(self, search: Search) -> str | None:
        """What the caption of a running search begins with. None where that is not sure before its end."""
        if search.generation.rows > 1 or search.generation.num_beams > 1:
            return None
        text = self._tokenizer.decode(search.beams[0], skip_special_tokens=True).strip()
        return str(text).rpartition(" ")[0]  # the last word may go on, and so may a character of several tokens

    def to_captions(self, results: Sequence[Result], generation: Generation) -> list[Caption]:
        """The captions of one image."""
        texts = self._tokenizer.batch_decode([result.token_ids for result in results], skip_special_tokens=True)
        return [_caption(text, result, generation) for text, result in zip(texts, results, strict=True)]


def _caption(text: str, result: Result, generation: Generation) -> Caption:
    score = result.log_probability / result.tokens if generation.scores and result.tokens else None
    ends = generation.eos_token_ids
    is_cut = bool(ends) and result.token_ids[-1] not in ends
    return Caption(text.strip(), tuple(result.token_ids), result.tokens, score, is_cut)


def _next_input(search: Search, group: Group) -> list[int]:
    """What the decoder is given for a search: at first the prompt, then the last token of each beam."""
    return search.beams[0] if group.cache.length == 0 else [beam[-1] for beam in search.beams]


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


def _own_configuration(model: Any) -> dict[str, Any]:
    """The generation configuration that `generate` goes by. BLIP's goes by its text decoder's, and its own end."""
    if model.config.model_type != "blip":
        own: dict[str, Any] = model.generation_config.to_dict()
        return own
    text = model.config.text_config
    blip: dict[str, Any] = model.text_decoder.generation_config.to_dict()
    return blip | {"eos_token_id": text.sep_token_id, "pad_token_id": text.pad_token_id}


def attention_dtype(precision: str, dtype: torch.dtype) -> torch.dtype:
    """Attention dtype: bfloat16 with int8 and bf16 weights where the CPU multiplies it, half as many bytes to read."""
    return torch.bfloat16 if precision in ("int8", "bf16") and CpuCapabilities.detect().has_bf16 else dtype
