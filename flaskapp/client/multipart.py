"""Multipart forms with images, which are read while they are sent."""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from urllib3.fields import RequestField
from urllib3.filepost import choose_boundary

from flaskapp.client.errors import ClientError

ImageSource = str | os.PathLike[str] | bytes | BinaryIO  # str: a path

BLOCK = 2**16  # bytes


class Image:
    """An image to send, from the current position of its file. Iterates over its blocks, again for each retry."""

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.name = Path(name).name if isinstance(name, str) else "image"
        self._file = file if file.seekable() else io.BytesIO(file.read())
        self._start = self._file.tell()
        self.size = self._file.seek(0, os.SEEK_END) - self._start
        self._file.seek(self._start)  # the list may contain the same file twice

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._start)
        left = self.size
        while left:
            left -= len(block := self._read(min(left, BLOCK)))
            yield block

    def _read(self, size: int) -> bytes:
        """Read a block. Raises ClientError, because requests takes an OSError for a lost connection."""
        try:
            block = self._file.read(size)
        except OSError as error:
            raise ClientError(f"{self.name} cannot be read: {error.strerror}") from error
        if not block:
            raise ClientError(f"{self.name} became shorter while it was sent")
        return block


@contextmanager
def opened(source: ImageSource) -> Iterator[Image]:
    """Open an image. Raises OSError for a path that cannot be opened."""
    if isinstance(source, str | os.PathLike):
        with Path(source).open("rb") as file:
            yield Image(file)
    else:
        yield Image(io.BytesIO(source) if isinstance(source, bytes) else source)


def listed(images: ImageSource | Iterable[ImageSource], *, or_single: bool = False) -> list[ImageSource]:
    """Return the images as a list. Raises TypeError for a single image, whose characters or lines are no images."""
    if isinstance(images, str | bytes | os.PathLike) or hasattr(images, "read"):
        if not or_single:
            raise TypeError("a list of images is meant, not a single one")
        return [cast(ImageSource, images)]
    return list(images)


class Form:
    """A `multipart/form-data` body of known length. Opens its images at once; `with` closes them.

    `texts` are the other fields by name. Leaves out those that are None.
    """

    def __init__(self, images: Sequence[ImageSource], **texts: str | None) -> None:
        self._boundary = choose_boundary()
        self.content_type = f"multipart/form-data; boundary={self._boundary}"
        with ExitStack() as opening:
            files = [opening.enter_context(opened(image)) for image in images]
            self._resources = opening.pop_all()
        self._parts: list[bytes | Image] = []
        for image in files:
            self._parts += [self._head("data", image.name), image, b"\r\n"]
        for name, text in texts.items():
            if text is not None:
                self._parts += [self._head(name), text.encode(), b"\r\n"]
        self._parts.append(f"--{self._boundary}--\r\n".encode())

    def _head(self, name: str, filename: str | None = None) -> bytes:
        field = RequestField(name, b"", filename)
        field.make_multipart(content_type="application/octet-stream" if filename else None)
        return f"--{self._boundary}\r\n{field.render_headers()}".encode(errors="replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._resources.close()

    def __len__(self) -> int:
        return sum(part.size if isinstance(part, Image) else len(part) for part in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, Image):
                yield from part
            else:
                yield part
