"""Binary tensors of the Open Inference Protocol: raw bytes behind the JSON of a body.

A header has the length of the JSON. Behind it follow the tensors with a `binary_data_size`, in their order. Each
element is its length (uint32, little-endian) and its bytes.

Reference: the protocol's `inference_rest.md`, and "Binary Tensor Data Extension" in Triton's documentation.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

LENGTH = struct.Struct("<I")
MAX_ELEMENTS = 10_000  # of all inputs together
HEADER = "Inference-Header-Content-Length"


def split(body: bytes, header: str | None) -> tuple[bytes, bytes]:
    """Split a body into its JSON and its raw bytes. Raise ValueError for an invalid length."""
    if header is None:
        return body, b""
    if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= len(body)):
        raise ValueError(f"{HEADER} must be the length of the JSON, at most that of the body.")
    return body[: int(header)], body[int(header) :]


def attach_raw(message: Any, raw: bytes) -> None:
    """Set `data` of the binary inputs to their elements. Raise ValueError if the bytes and the sizes do not fit.

    The schema validates the rest of the message.
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
    position = 0
    while position < len(raw):
        if len(raw) - position < LENGTH.size:
            raise ValueError("The bytes of an input end within a length.")
        (length,) = LENGTH.unpack_from(raw, position)
        position += LENGTH.size
        if length > len(raw) - position:
            raise ValueError("The bytes of an input end within an element.")
        yield raw[position : position + length]
        position += length


def pack(elements: Sequence[str]) -> bytes:
    """Encode texts as the raw bytes of a tensor."""
    encoded = [element.encode() for element in elements]
    return b"".join(LENGTH.pack(len(each)) + each for each in encoded)
