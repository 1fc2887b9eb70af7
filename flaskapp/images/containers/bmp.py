"""BMP (Windows bitmap): a file header, an image header in one of many versions, masks or a palette, and rows."""

import struct

import numpy as np

from flaskapp.images.containers.container import Container, broken

FILE_HEADER, SMALLEST, WITH_ALPHA = 14, 40, 56  # bytes; the image header of version 3 has an alpha mask
RUN_LENGTHS = (1, 2)  # compressions that Pillow decodes in Python, a pixel at a time
SLOWNESS = 10  # Pillow could take four seconds for a file of 30 kB that skips most of its rows
BIT_FIELDS, BIT_FIELDS_WITH_ALPHA = 3, 6
MASKS = FILE_HEADER + SMALLEST  # position of the masks, in the image header or after it
USUAL = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)  # masks of red, green, blue and alpha in 32 bits
USUAL_IN_16_BITS = (0x7C00, 0x3E0, 0x1F, 0)
ROWS = 256  # rows converted at once


def clean(data: bytes) -> Container:
    """Convert pixels of bit fields to 8 bits per channel: Pillow reads few layouts, and no alpha in 16 bits.

    Alpha that is 0 everywhere is dropped: many programs do not set it. Raise UnreadableImage.
    """
    if len(data) < FILE_HEADER + SMALLEST or int.from_bytes(data[14:18], "little") < SMALLEST:
        return Container(data)
    offset, size, width, height, _, depth, compression = struct.unpack_from("<2I2i2HI", data, 10)
    if compression in RUN_LENGTHS:
        return Container(data, slowness=SLOWNESS)
    if compression not in (BIT_FIELDS, BIT_FIELDS_WITH_ALPHA) or depth not in (16, 32):
        return Container(data)
    masks = [mask & (1 << depth) - 1 for mask in struct.unpack_from("<4I", data.ljust(MASKS + 16, b"\0"), MASKS)]
    if size < WITH_ALPHA and compression != BIT_FIELDS_WITH_ALPHA:
        masks[3] = 0
    stride = (width * depth + 31) // 32 * 4
    if width <= 0 or height == 0 or len(data) < offset + stride * abs(height):
        raise broken("bmp")
    rows = np.frombuffer(data, np.uint8, stride * abs(height), offset).reshape(abs(height), stride)
    words = rows.view("<u2" if depth == 16 else "<u4")[:, :width]
    usual = USUAL if depth == 32 else USUAL_IN_16_BITS
    pixels = _channels(words, masks if any(masks) else list(usual))
    return Container(_bmp(pixels, height))


def _channels(words: np.ndarray, masks: list[int]) -> np.ndarray:
    """Return uint8 [height, width, 4] in blue, green, red and alpha."""
    pixels = np.empty((*words.shape, 4), np.uint8)
    for place, mask in enumerate((masks[2], masks[1], masks[0], masks[3])):
        shift = (mask & -mask).bit_length() - 1 if mask else 0
        most = mask >> shift
        for top in range(0, len(words), ROWS):
            values = (words[top : top + ROWS] & mask) >> shift if mask else np.zeros_like(words[top : top + ROWS])
            pixels[top : top + ROWS, :, place] = values * (255 / most) + 0.5 if most else 0
    return pixels


def _bmp(pixels: np.ndarray, height: int) -> bytes:
    """Return a file with 32 bits per pixel, with an alpha mask unless alpha is 0 everywhere."""
    size = 56
    masks = (*USUAL[:3], USUAL[3] if pixels[..., 3].any() else 0)
    head = struct.pack("<2sIHHI", b"BM", FILE_HEADER + size + pixels.nbytes, 0, 0, FILE_HEADER + size)
    head += struct.pack("<I2i2H6I", size, pixels.shape[1], height, 1, 32, BIT_FIELDS, pixels.nbytes, 0, 0, 0, 0)
    return head + struct.pack("<4I", *masks) + pixels.tobytes()
