"""A file that was cut down to what its pixels need."""

from dataclasses import dataclass

from flaskapp.errors import UnreadableImage

MAX_PROFILE = 4 * 2**20  # bytes of a colour profile; of a larger one no note is taken
MAX_EXIF = 2**16  # bytes of EXIF data, as in a JPEG; Pillow writes it anew, in Python, for an image that it turns


@dataclass(frozen=True)
class Container:
    data: bytes
    profile: bytes | None = None  # ICC, where `data` does not hold it any more
    size: tuple[int, int] | None = None  # width and height in pixels, where they must be known before it is opened
    extra: int = 0  # bytes that the decoder needs beside the pixels, at whatever scale they are read
    slowness: int = 1  # how many times as long as another image of its size it takes to decode
    coded: int = 0  # pixels that the decoder makes, where the file may call the image smaller
    has_end: bool = True  # False: the mark at its end is missing, and may be all that is missing


def broken(format: str) -> UnreadableImage:
    return UnreadableImage(f"the {format} image is broken or cut short")
