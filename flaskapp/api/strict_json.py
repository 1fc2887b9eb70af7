"""Parse JSON strictly (RFC 8259). Python's parser accepts NaN, duplicate keys, and any depth up to a RecursionError."""

import json
from typing import Any, NoReturn

from flaskapp.errors import MalformedJSON, OversizedJSON

MAX_SIZE = 2**17  # bytes; large enough that a field of 100 kB is rejected by its own limit, which names it
MAX_DEPTH = 32
MAX_DIGITS = 1000  # digits of an integer; the largest float has 309
MAX_MEMBERS = 10_000  # members of JSON above MAX_SIZE, which holds files


def loads(data: bytes | str) -> Any:
    """Parse UTF-8 JSON. Raise MalformedJSON, with a message for the client, or OversizedJSON."""
    if len(data) > MAX_SIZE:
        raise OversizedJSON(f"The JSON is longer than {MAX_SIZE} bytes.")
    return _parse(data)


def loads_file(data: bytes) -> Any:
    """Parse JSON of any size that holds files in base64. Its number of members is limited instead of its size.

    Each value but the first follows a comma or a bracket, which base64 does not contain. Counting them is fast.
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
    if _is_deeper_than(value, MAX_DEPTH):
        raise MalformedJSON("The JSON is nested too deeply.")
    return value


def _text(data: bytes | str) -> str:
    """Decode UTF-8, without a byte order mark (RFC 8259, section 8.1)."""
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    encoding = json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        raise MalformedJSON(f"The JSON is encoded in {encoding.upper()}: send UTF-8.")
    return data.decode(encoding)


def _unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has the same key twice")
    return members


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


DECODER = json.JSONDecoder(object_pairs_hook=_unique_members, parse_constant=_reject_constant, parse_int=_integer)


def _is_deeper_than(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper_than(member, levels - 1) for member in members)
