"""Stop sequences: texts that end an answer. The answer is truncated before the first of them.

The first one is the one with the earliest end, so that a stream can stop as soon as a sequence is complete.
"""

from collections.abc import Sequence
from typing import Any

import marshmallow as ma
from marshmallow import ValidationError

from flaskapp.api.fields import Config, Text

MAX_SEQUENCES = 16  # OpenAI takes 4, Ollama any number
MAX_LENGTH = 256  # characters
MASK = "\0"  # in no stop sequence, because `fields.Text` rejects it


class StopSequences(ma.fields.Field[tuple[str, ...]]):
    """A text or a list of texts. Empty texts, which some clients send, are dropped."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        sequences = [value] if isinstance(value, str) else value
        if not isinstance(sequences, list):
            raise ValidationError("Neither a string nor a list of strings.")
        if len(sequences) > MAX_SEQUENCES:
            raise ValidationError(f"Send at most {MAX_SEQUENCES} stop sequences.")
        field = Text(validate=ma.validate.Length(max=MAX_LENGTH))
        return tuple(text for text in ma.fields.List(field).deserialize(sequences) if text)

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        bounds = {"maxLength": MAX_LENGTH, "maxItems": MAX_SEQUENCES}
        items = {"type": "string", "maxLength": MAX_LENGTH}
        return {"type": ["string", "array", "null"], "items": items} | bounds


def truncate(text: str, stops: Sequence[str], prompt: str = "") -> str:
    """Return the text before the first stop sequence, or the whole text if there is none.

    Each line is a caption. Captions of some models begin with the `prompt`; stop sequences in it do not count.
    """
    searched = _masked(text, prompt)
    found = [(position + len(stop), position) for stop in stops if (position := searched.find(stop)) >= 0]
    return text[: min(found)[1]] if found else text


def stable_prefix(text: str, stops: Sequence[str], prompt: str = "") -> str:
    """Return the part of a growing text that later words cannot change: without a possible start of a stop sequence."""
    before = truncate(text, stops, prompt)
    if before != text:
        return before
    searched = _masked(text, prompt)
    longest = max(map(len, stops), default=0)
    for position in range(max(0, len(text) - longest + 1), len(text)):
        if any(stop.startswith(searched[position:]) for stop in stops):
            return text[:position]
    return text


def _masked(text: str, prompt: str) -> str:
    """Replace the prompt at the beginning of each line with characters that no stop sequence contains."""
    if not prompt:
        return text
    lines = text.split("\n")
    ends = [_end_of_prompt(line, prompt) for line in lines]
    return "\n".join(MASK * end + line[end:] for line, end in zip(lines, ends, strict=True))


def _end_of_prompt(text: str, prompt: str) -> int:
    """Return the length of the prompt, or of its part, at the beginning of a text. 0: the text begins otherwise.

    Case and spaces are ignored, because tokenizers change them.
    """
    position = 0
    for character in "".join(prompt.split()):
        while position < len(text) and text[position].isspace():
            position += 1
        if position == len(text):
            break
        if text[position].casefold() != character.casefold():
            return 0
        position += 1
    return position
