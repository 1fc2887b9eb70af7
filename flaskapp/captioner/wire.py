"""What web workers and the engine process say to each other, over a Unix socket.

A connection carries one request. Its messages are frames: 4 bytes with the length of a JSON head, 8 with that of the
bytes that follow it (an image's pixels, or none), both in network order.

    web worker                                     engine process
    {"do": "describe", "images", "settings", ...}
                                                   {"go": true}, once there is room; or {"error": ...}
    {"height", "width"} and pixels, for each image
                                                   {"text"}, while it grows, if the request says "stream"
                                                   {"captions": ..., "seconds": ...} or {"error": ...}

Closing the connection gives the request up. There is no pickle: neither side runs what the other sends.
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

HEADER = struct.Struct("!IQ")  # the lengths of the head and of the bytes
MOST_HEAD = 1 << 26  # bytes; all captions of the most images that a request may have are far from it

Message = Mapping[str, Any]


class Closed(Exception):
    """The other side closed the connection."""


def send(connection: socket.socket, head: Message, body: memoryview | bytes = b"") -> None:
    """Send one frame. Raises OSError when the other side has closed the connection."""
    encoded = json.dumps(head).encode()
    connection.sendall(HEADER.pack(len(encoded), len(body)) + encoded)
    if body:
        connection.sendall(body)


def receive(connection: socket.socket, most: int = 0) -> tuple[dict[str, Any], bytearray]:
    """The next frame, with at most so many bytes after its head.

    Raises Closed at the end of the connection, ValueError for what is no frame, TimeoutError as the socket does.
    """
    head_length, body_length = HEADER.unpack(_read(connection, HEADER.size))
    if head_length > MOST_HEAD or body_length > most:
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


def receive_image(connection: socket.socket, most: int) -> np.ndarray:
    """The image, uint8 [height, width, 3], that `send_image` sent: at most so many bytes."""
    head, body = receive(connection, most)
    return np.frombuffer(body, np.uint8).reshape(head["height"], head["width"], 3)


def encode_error(error: FlaskappError) -> dict[str, Any]:
    """An error of ours, with what its class needs to be made again."""
    details = {name: getattr(error, name) for name in ("field", "retry_after") if hasattr(error, name)}
    return {"error": type(error).__name__, "message": str(error), **details}


def decode_error(head: Message) -> FlaskappError:
    """The error that `encode_error` encoded. What is none of ours is CaptionerUnavailable."""
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
    """Lists become tuples again, as JSON knows no others."""
    if head is None:
        return None
    return Generation(**{field.name: _as_tuple(head[field.name]) for field in fields(Generation)})


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def encode_captions(captions: list[list[Caption]]) -> list[list[list[Any]]]:
    return [[list(caption) for caption in each] for each in captions]


def decode_captions(encoded: list[list[list[Any]]]) -> list[list[Caption]]:
    return [[Caption(text, tuple(token_ids), *rest) for text, token_ids, *rest in each] for each in encoded]
