"""Unsupported files, by their kind."""

import pytest

from flaskapp.errors import UnsupportedImageFormat
from tests.test_images import decode


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7", "a PDF"),
        (b"%!PS-Adobe", "PostScript"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- x -->\n<svg/>", "SVG"),
        (b"<?xml version='1.0'?><note/>", "XML"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\n <HTML>", "HTML"),
        (b"PK\3\4", "a zip archive or an Office document"),
        (b"\x1f\x8b\x08", "a gzip archive"),
        (b"8BPS\0\1", "a Photoshop document"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\1\0\1\0", "an icon"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "a video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video"),
        (b"\x1aE\xdf\xa3", "a video"),
        (b"RIFF\0\0\0\0AVI LIST", "a video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0crx isom", "a raw photograph"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC file without an image"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "an AVIF file without an image"),
    ],
)
def test_an_unsupported_format_is_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImageFormat, match=f"this is {name}.*, which cannot be read here: send JPEG"):
        decode(data + bytes(200))


@pytest.mark.parametrize("data", [b"plain text", b"\0" * 100, b"RIFF", b"{}"])
def test_unknown_bytes_are_no_image(data: bytes) -> None:
    with pytest.raises(UnsupportedImageFormat, match="this is not an image that can be read here: send JPEG"):
        decode(data)
