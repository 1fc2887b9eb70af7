"""An engine for the batcher's tests: its images are words, and it stops, fails and counts as each test needs it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flaskapp.captioner import GenerationSettings


@dataclass(eq=False)
class Word:
    """A search for an image that is a word: it takes `settings.max_length` steps and finds the word's letters."""

    word: str
    settings: GenerationSettings
    steps: int = 0

    @property
    def results(self) -> list[list[int]]:
        return [[ord(letter) for letter in self.word]] * self.settings.num_return_sequences


@dataclass
class StandIn:
    """An engine whose images are words. "bad" ones fail; while `gate` is closed no step begins."""

    running: list[Word] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    has_begun: threading.Event = field(default_factory=threading.Event)
    on_add: Callable[[], None] = lambda: None
    on_step: Callable[[], None] = lambda: None

    def can_search(self, settings: GenerationSettings) -> bool:
        return not settings.do_sample

    def add(self, pixels: Sequence[str], settings: Sequence[GenerationSettings]) -> list[Word]:
        self.on_add()
        if "bad picture" in pixels:
            raise ValueError("secret details")
        words = [Word(word, each) for word, each in zip(pixels, settings, strict=True)]
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
        done = [search for search in self.running if search.steps == search.settings.max_length]
        self.running = [search for search in self.running if search not in done]
        return done

    def drop(self, search: Word) -> None:
        self.running.remove(search)

    def clear(self) -> None:
        self.running = []

    def generate(self, pixels: str, settings: GenerationSettings, is_given_up: Callable[[], bool]) -> list[list[int]]:
        if pixels == "endless":
            self.has_begun.set()
            while not is_given_up():
                threading.Event().wait(0.001)
        return [[ord(letter) for letter in pixels.upper()]] * settings.num_return_sequences

    def to_text(self, sequences: list[list[int]]) -> list[str]:
        return ["".join(map(chr, sequence)) for sequence in sequences]
