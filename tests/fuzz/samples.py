"""Small files of every format, in every variant that its decoder treats differently."""

import io
import struct
import zlib
from functools import cache
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

import flaskapp.images  # noqa: F401 # registers HEIC with Pillow
from tests.image_files import bmp_of_masks
from tests.photograph import photograph

WIDTH, HEIGHT = 45, 33  # no multiples of decoders' block sizes
# Start and step of each of Adam7's seven passes: y, x, y step, x step.
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


@cache
def samples() -> dict[str, bytes]:
    """Return the samples by name. A name starts with the format's."""
    formats = {"jpeg": _jpegs(), "png": _pngs(), "webp": _webps(), "gif": _gifs(), "bmp": _bmps()}
    formats |= {"tiff": _tiffs(), "avif": _avifs(), "heif": _heics()}
    return {f"{format} {kind}": data for format, kinds in formats.items() for kind, data in kinds.items()}


def _picture(mode: str = "RGB") -> Image.Image:
    picture = photograph(WIDTH, HEIGHT)
    if mode == "P":
        return picture.quantize(16)
    if mode == "RGBA":
        picture = picture.copy()
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
        return picture
    return picture.convert(mode)


def _save(picture: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    exif[0x010E] = "a photograph"
    return exif


def _profile() -> bytes:
    """Return sRGB under another name, so that the profile is applied."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace("sRGB".encode("utf-16-be"), "bGRs".encode("utf-16-be"))


def _jpegs() -> dict[str, bytes]:
    return {
        "baseline": _save(_picture(), "JPEG"),
        "progressive": _save(_picture(), "JPEG", progressive=True, subsampling=0),
        "grey": _save(_picture("L"), "JPEG", restart_marker_blocks=1),
        "CMYK": _save(_picture("CMYK"), "JPEG"),
        "without an end": _save(_picture(), "JPEG")[:-2],
        "with EXIF and ICC": _save(_picture(), "JPEG", exif=_exif(), icc_profile=_profile(), comment=b"a comment"),
    }


def _pngs() -> dict[str, bytes]:
    text = PngInfo()
    text.add_text("Title", "a photograph")
    text.add_text("Description", "compressed" * 20, zip=True)
    text.add_itxt("Author", "Ada", "en", "Ada", zip=True)
    wide, wide_grey = (np.asarray(_picture(mode)).astype(np.uint16) * 257 for mode in ("RGB", "L"))
    frames = [_picture("RGBA").rotate(90 * turns) for turns in range(3)]
    return {
        "colour": _save(_picture(), "PNG", exif=_exif(), icc_profile=_profile(), dpi=(72, 72)),
        "palette": _save(_picture("P"), "PNG", transparency=3, bits=4),
        "1 bit": _save(_picture("1"), "PNG"),
        "16 bit": cv2.imencode(".png", wide)[1].tobytes(),
        "4 bit grey": _grey_of_4_bits(),
        "16 bit grey": _save(Image.fromarray(wide_grey), "PNG", transparency=257),
        "with text": _save(_picture("LA"), "PNG", pnginfo=text),
        "animated": _save(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "interlaced": _interlaced(_picture()),
    }


def _interlaced(picture: Image.Image) -> bytes:
    """Return an interlaced PNG, which Pillow reads but does not write."""
    pixels = np.asarray(picture)
    rows = b""
    for y, x, step_y, step_x in PASSES:
        rows += b"".join(b"\0" + row.tobytes() for row in pixels[y::step_y, x::step_x])
    header = struct.pack(">2I5B", picture.width, picture.height, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)


def _grey_of_4_bits() -> bytes:
    shades = np.asarray(_picture("L"))[:, : WIDTH - 1] >> 4
    rows = b"".join(b"\0" + (row[::2] << 4 | row[1::2]).tobytes() for row in shades)
    header = struct.pack(">2I5B", WIDTH - 1, HEIGHT, 4, 0, 0, 0, 0)
    transparent = struct.pack(">H", 3)
    chunks = ((b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _webps() -> dict[str, bytes]:
    frames = [_picture("RGBA").rotate(90 * turns) for turns in range(3)]
    return {
        "lossy": _save(_picture(), "WEBP"),
        "lossy with alpha": _save(_picture("RGBA"), "WEBP", exif=_exif(), icc_profile=_profile()),
        "lossless": _save(_picture(), "WEBP", lossless=True),
        "animated": _save(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
    }


def _gifs() -> dict[str, bytes]:
    frames = [_picture().rotate(90 * turns) for turns in range(3)]
    return {
        "still": _save(_picture("P"), "GIF", transparency=3, interlace=True),
        "animated": _save(frames[0], "GIF", save_all=True, append_images=frames[1:], comment=b"a comment", loop=0),
    }


def _bmps() -> dict[str, bytes]:
    depths = {"1 bit": "1", "8 bit": "L", "24 bit": "RGB", "32 bit": "RGBA"}
    plain = {name: _save(_picture(mode), "BMP") for name, mode in depths.items()}
    pixels = np.asarray(_picture("RGBA"))[::-1].tobytes()
    fields = bmp_of_masks(32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000), pixels, WIDTH, HEIGHT)
    return plain | {"16 bit": _bmp_16_bit(), "bit fields": fields, "run lengths": _bmp_of_runs()}


def _tiffs() -> dict[str, bytes]:
    compressions = {"plain": "raw", "LZW": "tiff_lzw", "Deflate": "tiff_adobe_deflate", "JPEG": "jpeg"}
    kinds = {name: _save(_picture(), "TIFF", compression=method) for name, method in compressions.items()}
    kinds["fax"] = _save(_picture("1"), "TIFF", compression="group4")
    kinds["palette"] = _save(_picture("P"), "TIFF", compression="packbits", exif=_exif())
    kinds["CMYK"] = _save(_picture("CMYK"), "TIFF", icc_profile=_profile())
    kinds["floating point"] = _save(_picture("F"), "TIFF")
    return kinds | {
        "16 bit": cv2.imencode(".tiff", np.asarray(_picture())[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    }


def _avifs() -> dict[str, bytes]:
    frames = [_picture("RGBA").rotate(90 * turns) for turns in range(3)]
    return {
        "plain": _save(_picture(), "AVIF"),
        "with alpha": _save(_picture("RGBA"), "AVIF", exif=_exif(), icc_profile=_profile()),
        "animated": _save(frames[0], "AVIF", save_all=True, append_images=frames[1:]),
    }


def _heics() -> dict[str, bytes]:
    return {
        "plain": _save(_picture(), "HEIF"),
        "with alpha": _save(_picture("RGBA"), "HEIF", exif=_exif().tobytes(), icc_profile=_profile()),
        "of tiles": _save(_picture(), "HEIF", tile_size=16),
    }


def _bmp_16_bit() -> bytes:
    red, green, blue = (np.asarray(_picture())[..., channel].astype(np.uint16) for channel in range(3))
    rows = np.zeros((HEIGHT, WIDTH + WIDTH % 2), np.uint16)  # rows are padded to 4 bytes
    rows[:, :WIDTH] = red >> 3 << 11 | green >> 2 << 5 | blue >> 3
    return _bmp(16, 3, struct.pack("<3I", 0xF800, 0x07E0, 0x001F), rows[::-1].tobytes())


def _bmp_of_runs() -> bytes:
    palette = b"".join(bytes([shade, shade, shade, 0]) for shade in range(256))
    rows = b""
    for row in np.asarray(_picture("L"))[::-1] >> 5:
        rows += b"".join(bytes([1, shade]) for shade in row) + b"\0\0"  # runs of one pixel, then the end of the row
    return _bmp(8, 1, palette, rows + b"\0\1")


def _bmp(depth: int, compression: int, table: bytes, rows: bytes) -> bytes:
    start = 14 + 40 + len(table)
    head = b"BM" + struct.pack("<I4xI", start + len(rows), start)
    return (
        head + struct.pack("<I2i2H6I", 40, WIDTH, HEIGHT, 1, depth, compression, len(rows), 0, 0, 0, 0) + table + rows
    )
