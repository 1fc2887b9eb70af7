"""Reduces files to the parts that their pixels need, and bounds the cost of decoding them.

Decoders also parse text, comments, profiles and frames, some of them in Python, and trust the sizes in a file. The
functions here run before a decoder sees the file.
"""

from collections.abc import Callable

from flaskapp.images.containers import avif, bmp, gif, heif, jpeg, png, tiff, webp
from flaskapp.images.containers.container import Container

CLEANERS: dict[str, Callable[[bytes], Container]] = {
    "jpeg": jpeg.clean,
    "png": png.clean,
    "gif": gif.clean,
    "bmp": bmp.clean,
    "webp": webp.clean,
    "tiff": tiff.clean,
    "avif": avif.clean,
    "heif": heif.clean,
}


def clean(data: bytes, format: str) -> Container:
    """Reduce a file. Raise UnreadableImage if it is broken or too costly to decode."""
    return CLEANERS.get(format, Container)(data)


__all__ = ["Container", "clean"]
