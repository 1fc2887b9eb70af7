"""Tensors of bytes in the Open Inference Protocol: in JSON, or behind it as raw bytes.

Reference: the protocol's `inference_rest.md`, and "Binary Tensor Data Extension" of Triton's documentation. A body with
raw bytes begins with JSON, whose length is in a header; then come the tensors that have a `binary_data_size`, in their
order, each element as its length (uint32, little-endian) and its bytes.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

LENGTH = struct.Struct("<I")
MAX_ELEMENTS = 10_000  # of all inputs together
HEADER = "Inference-Header-Content-Length"


def split(body: bytes, header: str | None) -> tuple[bytes, bytes]:
    """The JSON and the raw bytes of a body. Raises ValueError for a length that cannot be."""
    if header is None:
        return body, b""
    if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= len(body)):
        raise ValueError(f"{HEADER} must be the length of the JSON, at most that of the body.")
    return body[: int(header)], body[int(header) :]


def take_raw(message: Any, raw: bytes) -> None:
    """Put the raw bytes in place as `data` of the inputs that they belong to. Raises ValueError where they do not fit.

    What else may be wrong with the message is left for its schema.
    """
    inputs = message.get("inputs") if isinstance(message, dict) else None
    begin, left = 0, MAX_ELEMENTS
    for tensor in inputs if isinstance(inputs, list) else []:
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            continue
        if not isinstance(size, int) or not 0 <= size <= len(raw) - begin:
            raise ValueError("A binary_data_size does not fit the body.")
        tensor["data"] = list(islice(_elements(raw[begin : begin + size]), left + 1))
        left -= len(tensor["data"])
        if left < 0:
            raise ValueError(f"The inputs have more than {MAX_ELEMENTS} elements.")
        begin += size
    if begin < len(raw):
        raise ValueError(f"{len(raw) - begin} bytes of the body belong to no input.")


def _elements(raw: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(raw):
        if len(raw) - place < LENGTH.size:
            raise ValueError("The bytes of an input end within a length.")
        (length,) = LENGTH.unpack_from(raw, place)
        place += LENGTH.size
        if length > len(raw) - place:
            raise ValueError("The bytes of an input end within an element.")
        yield raw[place : place + length]
        place += length


def pack(elements: Sequence[str]) -> bytes:
    """Texts as the raw bytes of a tensor."""
    encoded = [element.encode() for element in elements]
    return b"".join(LENGTH.pack(len(each)) + each for each in encoded)
