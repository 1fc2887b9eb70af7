"""Decodes image files in memory to upright 8-bit sRGB pixels.

Pixels are uint8 arrays [height, width, 3] (RGB) or [height, width, 4] (RGBA, if the image has transparency).
"""

import ctypes
import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import cv2
import numpy as np
import pillow_heif
from PIL import AvifImagePlugin, ExifTags, Image, ImageOps, TiffImagePlugin

from flaskapp.errors import ClientLeft, FlaskappError, TooBusy, UnreadableImage
from flaskapp.images import containers
from flaskapp.images.colours import to_8_bit, to_srgb
from flaskapp.images.containers.container import MAX_EXIF, broken
from flaskapp.images.formats import format_of
from flaskapp.images.picture import Picture, threads
from flaskapp.machine import usable_memory
from flaskapp.semaphore import WeightedSemaphore
from flaskapp.shared_room import SharedRoom

log = logging.getLogger(__name__)

# MAX_MEGAPIXELS replaces Pillow's limit: only this module opens uploads.
Image.MAX_IMAGE_PIXELS = None

# Pillow keeps pixels in blocks. Freed blocks of 64 MiB return to the system. At the default size of 16 MiB, each
# thread's allocator keeps them: a worker would grow by one image for each thread.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]

# Without an error handler, libtiff does not write its errors to stderr, past the log.
with suppress(AttributeError, OSError):  # a Pillow that is linked differently
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)  # type: ignore[attr-defined]

# One thread for each image, as for all other formats. No embedded previews: they may differ from the image.
pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# Pillow's own decoder of uncompressed TIFFs reads 16-bit planes as 8-bit ones, and does not report missing strips.
TiffImagePlugin.READ_LIBTIFF = True

# Import all formats now, not at the first image: by then, a web worker's user may be unable to read the libraries.
Image.init()

# Pixels, as in JPEG. OpenCV's tables for resizing take some dozens of bytes for each pixel of a side.
LONGEST_SIDE = 65_535

# Peak bytes for each decoded pixel, from Pillow's image to the flattened array, as measured.
BYTES_OF_PIXEL = {"webp": 26, "avif": 24, "heif": 24}
BYTES_OF_OTHER_PIXEL = 16
# Bytes for all images that are decoded at the same time. With 1 GiB, a fifth leaves room for the model and processes.
BYTES_AT_ONCE = min(50_000_000 * BYTES_OF_OTHER_PIXEL, usable_memory() // 5)
MAX_BYTES = usable_memory() // 3  # bytes for one image; a larger one than BYTES_AT_ONCE is decoded alone
semaphore = WeightedSemaphore(BYTES_AT_ONCE, wait=10, busy="too many large images at once", shared=SharedRoom())

# Most coded pixels for each pixel of the image: the image, its alpha, a gain map, and the edges of tiles.
MAX_CODED = 4
CODED_THUMBNAILS = 2**20  # coded pixels allowed for thumbnails

# A reduced image has sides of at least this multiple of the side that it will be resized to. All of 1,000 scenes of 12
# megapixels (JPEG) kept their captions; the peak signal-to-noise ratio of the model's input is at least 41 dB
# (benchmarks.photographs).
OVERSAMPLING = 2
NEVER_REDUCED = 1_500_000  # pixels; decoding so few in full takes milliseconds
SCALES = (1, 2, 4, 8)  # 8: an eighth of each side

# Bytes in place of a JPEG's missing end. They change the pixels if more than the end is missing.
PADDING = (b"\x2a" * 64, b"\xd5" * 64)
END = b"\xff\xd9"
MISSING_GREY = 128  # of pixels that a JPEG lacks
ROWS_COMPARED = 256

ORIENTATION = ExifTags.Base.Orientation
QUARTER_TURNS = (5, 6, 7, 8)  # orientations

XMP = ("xmp", "XML:com.adobe.xmp")


class EncodedImage:
    """An image file. Only its header is read before it is decoded. `format` is the format's name.

    Raises UnsupportedImageFormat for other content. Raises UnreadableImage for a broken header, more than
    `max_megapixels`, a side longer than LONGEST_SIDE, and a file that would take too long to decode.
    """

    def __init__(self, data: bytes, max_megapixels: float) -> None:
        self.format = format_of(data)
        self._upload = data
        threads.run(lambda: self._read_header(data, max_megapixels))

    def _read_header(self, data: bytes, max_megapixels: float) -> None:
        self._container = containers.clean(data, self.format)
        max_megapixels /= self._container.slowness
        if self._container.size is not None:
            _check_size(*self._container.size, max_megapixels)
        with self._open(self._container.data, lambda: False) as image:
            self._width, self._height = image.size
            _check_size(*image.size, max_megapixels)
            if self._container.coded > MAX_CODED * self._width * self._height + CODED_THUMBNAILS:
                raise broken(self.format)

    @property
    def digest(self) -> str:
        """The SHA-256 of the whole file."""
        return hashlib.sha256(self._upload).hexdigest()

    def size_of(self, picture: Picture) -> tuple[int, int]:
        """Return width and height of the full image, upright like the picture that was decoded from it."""
        return (self._height, self._width) if picture.is_turned else (self._width, self._height)

    @contextmanager
    def decoded(
        self, for_side: int | None = None, *, patient: bool = False, has_left: Callable[[], bool] = lambda: False
    ) -> Iterator[Picture]:
        """Wait until there is memory, then `decode`. The block's end releases the memory: keep no pixels after it.

        Raises the errors of `decode`, UnreadableImage for an image over MAX_BYTES, and TooBusy after waiting too long,
        unless `patient`.
        """
        memory = self.memory(for_side)
        if memory > MAX_BYTES:
            raise UnreadableImage("the image takes more memory to decode than this server may use for one")
        with semaphore.take(memory, patient=patient), _out_of_memory_as_busy():
            if has_left():
                raise ClientLeft("the client disconnected")
            yield threads.run(lambda: self.decode(for_side, has_left))

    def memory(self, for_side: int | None = None) -> int:
        """Return the peak bytes of `decode`."""
        pixels = self._width * self._height
        side = self._reduced_for(for_side)
        if side is not None and self.format == "jpeg":
            pixels //= _scale(self._width, self._height, side) ** 2
        return pixels * BYTES_OF_PIXEL.get(self.format, BYTES_OF_OTHER_PIXEL) + self._container.extra

    def decode(self, for_side: int | None = None, has_left: Callable[[], bool] = lambda: False) -> Picture:
        """Decode the first frame, upright by its EXIF orientation and in sRGB.

        With `for_side`, the image will be resized until no side is longer than `for_side` pixels. It may then be
        decoded at a reduced size, at least OVERSAMPLING times as large: a large JPEG at a half, a quarter or an eighth
        of its size. Other formats are decoded in full and then averaged.

        When `has_left` returns true, decoding of a JPEG, PNG, GIF or BMP stops after at most 64 KiB of the file. Other
        decoders cannot be interrupted: `containers` bounds their cost, and that of 64 KiB.
        Raises UnreadableImage for a broken or truncated image, TooBusy if there is no memory for it, ClientLeft.
        """
        with _out_of_memory_as_busy(), self._open(self._container.data, has_left) as image:
            side = self._reduced_for(for_side)
            _load(image, side)
            if not self._container.has_end or _may_lack_pixels(image, self.format):
                self._check_complete(image, side, has_left)
            is_turned = _turn_upright(image)
            profile = self._container.profile or image.info.get("icc_profile")
            pixels = np.asarray(self._averaged(to_srgb(to_8_bit(image), profile), side))
            return Picture(pixels, self.format, is_turned)

    def _reduced_for(self, for_side: int | None) -> int | None:
        return for_side if self._width * self._height > NEVER_REDUCED else None

    def _averaged(self, image: Image.Image, for_side: int | None) -> Image.Image:
        """Average pixels to a reduced size, unless JPEG's decoder did: fewer pixels for the model's preprocessing."""
        if for_side is None or self.format == "jpeg":
            return image
        scale = _scale(*image.size, for_side)
        return image.reduce(scale) if scale > 1 else image

    def _check_complete(self, image: Image.Image, for_side: int | None, has_left: Callable[[], bool]) -> None:
        """Raise UnreadableImage if the file lacks pixels. The decoder would invent them."""
        if self._container.has_all_rows is not None:
            if not self._container.has_all_rows():
                raise broken(self.format)
            return
        for padding in PADDING:  # these bytes change the pixels of a JPEG if any are missing
            data = self._container.data[: -len(END)] + padding + END
            with self._open(data, has_left) as other:
                _load(other, for_side)
                if not _are_equal(other, image):
                    raise broken(self.format)

    @contextmanager
    def _open(self, data: bytes, has_left: Callable[[], bool]) -> Iterator[Image.Image]:
        try:
            with Image.open(_File(data, has_left), formats=[self.format.upper()]) as image:
                for name in XMP:  # Pillow reads an orientation from XMP; browsers do not
                    image.info.pop(name, None)
                if len(image.info.get("exif") or b"") > MAX_EXIF:
                    del image.info["exif"]
                yield image
        except (FlaskappError, MemoryError):
            raise
        except Exception as error:  # decoders raise many types: OSError, ValueError, struct.error
            log.debug("An image could not be read", exc_info=True)
            raise broken(self.format) from error


class _File(io.BytesIO):
    """A file that decoders read in blocks. Each read checks whether the client has disconnected."""

    def __init__(self, data: bytes, has_left: Callable[[], bool]) -> None:
        super().__init__(data)
        self._has_left = has_left

    def read(self, size: int | None = -1, /) -> bytes:
        if self._has_left():
            raise ClientLeft("the client disconnected")
        return super().read(size)


def _load(image: Image.Image, for_side: int | None) -> None:
    if for_side is not None:
        image.draft(None, (OVERSAMPLING * for_side, OVERSAMPLING * for_side))
    image.load()


def _may_lack_pixels(image: Image.Image, format: str) -> bool:
    """Whether the last pixels are as decoders leave missing ones: grey in a JPEG, a black row in a PNG.

    Neither decoder reports them. In an interlaced PNG, the last row or the one before it is missing first.
    """
    width, height = image.size
    if format == "jpeg":
        corner = image.crop((width - 1, height - 1, width, height)).tobytes()
        return all(abs(value - MISSING_GREY) <= 1 for value in corner)
    rows = [image.crop((0, row, width, row + 1)).tobytes() for row in range(max(0, height - 2), height)]
    return format == "png" and not all(any(row) for row in rows)


def _are_equal(one: Image.Image, other: Image.Image) -> bool:
    """Compare some rows at a time, for less memory."""
    width, height = one.size
    bands = [(0, top, width, min(top + ROWS_COMPARED, height)) for top in range(0, height, ROWS_COMPARED)]
    return all(one.crop(band).tobytes() == other.crop(band).tobytes() for band in bands)


def _turn_upright(image: Image.Image) -> bool:
    """Rotate by the EXIF orientation. An unreadable one counts as upright. Return whether width and height swapped."""
    before = image.size
    turned = False
    with suppress(Exception):
        turned = image.getexif().get(ORIENTATION, 1) in QUARTER_TURNS
        ImageOps.exif_transpose(image, in_place=True)
    return turned and image.size == before[::-1]


def _scale(width: int, height: int, for_side: int) -> int:
    """Return the largest of SCALES that leaves the short side OVERSAMPLING times as long as `for_side`."""
    most = min(width, height) // (OVERSAMPLING * for_side)
    return max(scale for scale in SCALES if scale <= max(1, most))


def _check_size(width: int, height: int, max_megapixels: float) -> None:
    if max(width, height) > LONGEST_SIDE:
        raise UnreadableImage(f"the image has a side of more than {LONGEST_SIDE} pixels")
    if width * height > max_megapixels * 1_000_000:
        raise UnreadableImage(f"the image has more than {max_megapixels:g} megapixels")


@contextmanager
def _out_of_memory_as_busy() -> Iterator[None]:
    """Raise TooBusy if there is no memory for the block."""
    try:
        yield
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        raise TooBusy("there is no memory for the image at the moment", retry_after=5) from error
