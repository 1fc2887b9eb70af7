"""What a file holds beside its pixels, read before a decoder sees it.

Decoders walk text, comments, profiles and frames that no pixel needs, some of them in Python, and believe what a file
says of its size. Here a file is cut down to what its pixels need, and its cost is bounded.
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
    """Raises UnreadableImage for a file that is broken or that would cost too much to decode."""
    return CLEANERS.get(format, Container)(data)


__all__ = ["Container", "clean"]
