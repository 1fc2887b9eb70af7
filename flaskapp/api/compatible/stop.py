"""Stop sequences: texts that end an answer. The answer is cut before the first of them.

The first is the one that ends first, so that a stream can be cut as soon as it is complete.
"""

from collections.abc import Sequence
from typing import Any

import marshmallow as ma
from marshmallow import ValidationError

from flaskapp.api.fields import Config, Text

MOST = 16  # OpenAI takes 4, Ollama any number
MAX_LENGTH = 256  # characters
MASK = "\0"  # no JSON text of a request has it: see `fields.Text`


class StopSequences(ma.fields.Field[tuple[str, ...]]):
    """A text or a list of texts. Empty ones, which some clients send, stop nothing."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        sequences = [value] if isinstance(value, str) else value
        if not isinstance(sequences, list):
            raise ValidationError("Neither a string nor a list of strings.")
        if len(sequences) > MOST:
            raise ValidationError(f"Send at most {MOST} stop sequences.")
        field = Text(validate=ma.validate.Length(max=MAX_LENGTH))
        return tuple(text for text in ma.fields.List(field).deserialize(sequences) if text)

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        bounds = {"maxLength": MAX_LENGTH, "maxItems": MOST}
        items = {"type": "string", "maxLength": MAX_LENGTH}
        return {"type": ["string", "array", "null"], "items": items} | bounds


def cut(text: str, stops: Sequence[str], prompt: str = "") -> str:
    """The text before the first stop sequence, or the whole text without one.

    Stop sequences in the `prompt`, with which the captions of some models begin, do not count. Of several captions,
    each is a line.
    """
    searched = _masked(text, prompt)
    found = [(place + len(stop), place) for stop in stops if (place := searched.find(stop)) >= 0]
    return text[: min(found)[1]] if found else text


def sure(text: str, stops: Sequence[str], prompt: str = "") -> str:
    """The part of `cut` that stays the same however the text goes on: its end may begin a stop sequence."""
    before = cut(text, stops, prompt)
    if before != text:
        return before
    searched = _masked(text, prompt)
    longest = max(map(len, stops), default=0)
    for place in range(max(0, len(text) - longest + 1), len(text)):
        if any(stop.startswith(searched[place:]) for stop in stops):
            return text[:place]
    return text


def _masked(text: str, prompt: str) -> str:
    """The text with a character that no stop sequence has in place of the prompt at the beginning of each line."""
    if not prompt:
        return text
    lines = text.split("\n")
    ends = [_end_of_prompt(line, prompt) for line in lines]
    return "\n".join(MASK * end + line[end:] for line, end in zip(lines, ends, strict=True))


def _end_of_prompt(text: str, prompt: str) -> int:
    """Where the repetition of a prompt ends in a text, as far as it goes; 0 where the text begins with something else.

    Tokenizers change the case and the spaces of a prompt.
    """
    place = 0
    for character in "".join(prompt.split()):
        while place < len(text) and text[place].isspace():
            place += 1
        if place == len(text):
            break
        if text[place].casefold() != character.casefold():
            return 0
        place += 1
    return place
