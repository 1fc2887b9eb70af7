"""JSON as the RFC has it. Python's parser takes more than that: NaN, a key twice, any depth until it falls over."""

import json
from typing import Any, NoReturn

from flaskapp.errors import MalformedJSON, OversizedJSON

MAX_SIZE = 2**17  # bytes: a text of 100 kB is still refused by the name of its field
MAX_DEPTH = 32
MAX_DIGITS = 1000  # of an integer; the largest float has 309
MAX_MEMBERS = 10_000  # of a JSON that may be longer, because it holds files


def loads(data: bytes | str) -> Any:
    """Parse UTF-8 JSON. Raises MalformedJSON, whose message says what is wrong with it, or OversizedJSON."""
    if len(data) > MAX_SIZE:
        raise OversizedJSON(f"The JSON is longer than {MAX_SIZE} bytes.")
    return _parse(data)


def loads_file(data: bytes) -> Any:
    """Likewise, of any size, because it holds a file in base64: what is long must be that, and not its structure.

    Every value but the first comes after one of three characters that base64 does not have. They are quickly counted.
    """
    if len(data) > MAX_SIZE and sum(map(data.count, (b",", b"[", b"{"))) > MAX_MEMBERS:
        raise OversizedJSON(f"JSON of more than {MAX_SIZE} bytes may have no more than {MAX_MEMBERS} members.")
    return _parse(data)


def _parse(data: bytes | str) -> Any:
    try:
        value = DECODER.decode(_text(data))
    except UnicodeDecodeError:
        raise MalformedJSON("The JSON is not encoded in UTF-8.") from None
    except RecursionError:
        raise MalformedJSON("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise MalformedJSON(f"This is not JSON: {error}.") from None
    if _is_deeper(value, MAX_DEPTH):
        raise MalformedJSON("The JSON is nested too deeply.")
    return value


def _text(data: bytes | str) -> str:
    """Without a byte order mark. RFC 8259, section 8.1: a parser may ignore it, and the encoding is UTF-8."""
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    encoding = json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        raise MalformedJSON(f"The JSON is encoded in {encoding.upper()}: send UTF-8.")
    return data.decode(encoding)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same key twice")
    return members


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates, parse_constant=_refuse, parse_int=_integer)


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(member, levels - 1) for member in members)
