"""A stand-in engine for the batcher's tests: its images are words, and tests control its progress and failures."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flaskapp.captioner.generation import Caption, Generation


@dataclass(eq=False)
class Word:
    """A search for a word: it takes `max_length` steps and finds the word's letters."""

    word: str
    generation: Generation
    steps: int = 0

    @property
    def results(self) -> list[list[int]]:
        return [[ord(letter) for letter in self.word]] * self.generation.num_return_sequences


@dataclass
class StandIn:
    """An engine whose images are words. "bad" words fail. No step begins while `gate` is closed."""

    running: list[Word] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    generated: list[list[str]] = field(default_factory=list)  # the batches of `generate`
    gate: threading.Event = field(default_factory=threading.Event)
    has_begun: threading.Event = field(default_factory=threading.Event)
    threads: int | None = None  # set by the batcher
    images_per_call: int = 1
    on_add: Callable[[], None] = lambda: None
    on_step: Callable[[], None] = lambda: None

    def sibling(self) -> "StandIn":
        return StandIn(
            gate=self.gate,
            has_begun=self.has_begun,
            batches=self.batches,
            generated=self.generated,
            images_per_call=self.images_per_call,
        )

    def use_threads(self, number: int) -> None:
        self.threads = number

    def images_per_encoder_call(self, image: str) -> int:
        return self.images_per_call

    def add(
        self, images: Sequence[str], generations: Sequence[Generation], on_progress: Callable[[], object]
    ) -> list[Word]:
        self.on_add()
        if "bad picture" in images:
            raise ValueError("secret details")
        words = [Word(word, each) for word, each in zip(images, generations, strict=True)]
        on_progress()
        self.running += words
        return words

    def step(self) -> list[Word]:
        self.has_begun.set()
        assert self.gate.wait(30)
        self.on_step()
        self.batches.append([search.word for search in self.running])
        if any(search.word == "bad step" for search in self.running):
            raise ValueError("secret details")
        for search in self.running:
            search.steps += 1
        done = [search for search in self.running if search.steps == search.generation.max_length]
        self.running = [search for search in self.running if search not in done]
        return done

    def drop(self, search: Word) -> None:
        self.running.remove(search)

    def clear(self) -> None:
        self.running = []

    def generate(
        self, images: Sequence[str], generation: Generation, on_step: Callable[[], bool]
    ) -> list[list[list[int]]]:
        self.generated.append(list(images))
        if "bad picture" in images:
            raise ValueError("secret details")
        if "endless" in images:
            self.has_begun.set()
            while not on_step():
                threading.Event().wait(0.001)
        on_step()
        return [[[ord(letter) for letter in word.upper()]] * generation.num_return_sequences for word in images]

    def text_so_far(self, search: Word) -> str:
        return search.word[: search.steps]

    def to_captions(self, results: list[list[int]], generation: Generation) -> list[Caption]:
        return [Caption("".join(map(chr, result)), tuple(result), len(result)) for result in results]
