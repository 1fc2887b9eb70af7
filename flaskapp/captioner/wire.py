"""The protocol between web workers and the engine process, over a Unix socket.

A connection carries one request. Its messages are frames: the length of a JSON head (4 bytes), the length of a body (8
bytes), both in network order, the head, and the body (an image's pixels, or nothing).

    web worker                                     engine process
    {"do": "describe", "images", "settings", ...}
                                                   {"go": true} when admitted, or {"error": ...}
    {"height", "width"} and pixels, for each image
                                                   {"text"} of an unfinished caption, with "stream"
                                                   {"captions": ..., "seconds": ...} or {"error": ...}

Closing the connection cancels the request. There is no pickle: neither side executes data from the other.
"""

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from flaskapp import errors
from flaskapp.captioner.generation import Caption, Generation, GenerationSettings
from flaskapp.errors import CaptionerUnavailable, FlaskappError

HEADER = struct.Struct("!IQ")  # lengths of head and body
MAX_HEAD = 1 << 26  # bytes; the captions of the largest request need far fewer

Message = Mapping[str, Any]


class Closed(Exception):
    """The other side closed the connection."""


def send(connection: socket.socket, head: Message, body: memoryview | bytes = b"") -> None:
    """Send one frame. Raise OSError if the other side has closed the connection."""
    encoded = json.dumps(head).encode()
    connection.sendall(HEADER.pack(len(encoded), len(body)) + encoded)
    if body:
        connection.sendall(body)


def receive(connection: socket.socket, max_body: int = 0) -> tuple[dict[str, Any], bytearray]:
    """Receive one frame with a body of at most `max_body` bytes.

    Raises Closed at the end of the connection, ValueError for a broken or too long frame, TimeoutError like the socket.
    """
    head_length, body_length = HEADER.unpack(_read(connection, HEADER.size))
    if head_length > MAX_HEAD or body_length > max_body:
        raise ValueError("a frame is too long")
    head = json.loads(_read(connection, head_length))
    return head, _read(connection, body_length)


def _read(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = connection.recv_into(view[got:])
        if count == 0:
            raise Closed
        got += count
    return data


def send_image(connection: socket.socket, pixels: np.ndarray) -> None:
    """Send an image, uint8 [height, width, 3]."""
    height, width, _ = pixels.shape
    send(connection, {"height": height, "width": width}, np.ascontiguousarray(pixels).data.cast("B"))


def receive_image(connection: socket.socket, max_bytes: int) -> np.ndarray:
    """Receive the image, uint8 [height, width, 3], of `send_image`."""
    head, body = receive(connection, max_bytes)
    return np.frombuffer(body, np.uint8).reshape(head["height"], head["width"], 3)


def encode_error(error: FlaskappError) -> dict[str, Any]:
    """Encode an error with its class, message and attributes."""
    details = {name: getattr(error, name) for name in ("field", "retry_after") if hasattr(error, name)}
    return {"error": type(error).__name__, "message": str(error), **details}


def decode_error(head: Message) -> FlaskappError:
    """Decode the error of `encode_error`. An unknown class becomes CaptionerUnavailable."""
    kind = getattr(errors, str(head["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, FlaskappError)):
        return CaptionerUnavailable("the captioner failed")
    error = kind.__new__(kind)
    error.args = (head["message"],)
    for name in ("field", "retry_after"):
        if name in head:
            setattr(error, name, head[name])
    return error


def encode_settings(settings: GenerationSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if value is not None}


def decode_settings(head: Message) -> GenerationSettings:
    return GenerationSettings(**head)


def encode_generation(generation: Generation | None) -> dict[str, Any] | None:
    return None if generation is None else asdict(generation)


def decode_generation(head: Message | None) -> Generation | None:
    """Decode a generation. Its lists become tuples again, which JSON does not have."""
    if head is None:
        return None
    return Generation(**{field.name: _as_tuple(head[field.name]) for field in fields(Generation)})


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def encode_captions(captions: list[list[Caption]]) -> list[list[list[Any]]]:
    return [[list(caption) for caption in each] for each in captions]


def decode_captions(encoded: list[list[list[Any]]]) -> list[list[Caption]]:
    return [[Caption(text, tuple(token_ids), *rest) for text, token_ids, *rest in each] for each in encoded]
