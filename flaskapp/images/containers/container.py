"""A file that was reduced to the parts that its pixels need."""

from collections.abc import Callable
from dataclasses import dataclass

from flaskapp.errors import UnreadableImage

MAX_PROFILE = 4 * 2**20  # bytes of a colour profile; larger ones are ignored
MAX_EXIF = 2**16  # bytes of EXIF data, as in JPEG; Pillow rewrites it, in Python, when it rotates an image


@dataclass(frozen=True)
class Container:
    """The reduced file, and what the cost of decoding it depends on."""

    data: bytes
    profile: bytes | None = None  # ICC profile that was removed from `data`
    size: tuple[int, int] | None = None  # width and height in pixels, if they must be checked before the file is opened
    extra: int = 0  # bytes that the decoder needs besides the pixels, at any scale
    slowness: int = 1  # decoding time relative to other images of the same size
    coded: int = 0  # pixels that the decoder computes: these may be more than the image has
    has_end: bool = True  # False: the end marker is missing, and pixels may be
    has_all_rows: Callable[[], bool] | None = None  # counts the rows of the file, if the decoder does not


def broken(format: str) -> UnreadableImage:
    return UnreadableImage(f"the {format} image is broken or cut short")
