"""JPEG (ITU T.81): segments, then scans of entropy-coded data with segments between them."""

import re

from flaskapp.errors import UnreadableImage, UnsupportedImageFormat
from flaskapp.images.containers.container import MAX_PROFILE, Container, broken

# A marker: neither a stuffed zero nor a restart marker.
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
SOI, EOI, SOS, COM = 0xD8, 0xD9, 0xDA, 0xFE
FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)  # SOF
PROGRESSIVE = 0xC2
ARITHMETIC = (0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
APP0, APP1, APP2, APP14, APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
EXIF, ICC = b"Exif\0\0", b"ICC_PROFILE\0"

MAX_SEGMENTS = 4096  # a camera writes some dozens; Pillow parses each in Python

# Each scan visits all blocks, even if it has no data for them: 100 scans of 49 megapixels take a second. Encoders write
# about ten. libtiff has the same bound; libjpeg has none, and cannot be interrupted within a scan.
MAX_SCANS = 100
MAX_SCANS_OF_SEQUENTIAL = 4  # one for each component

BYTES_OF_COEFFICIENT = 2


def clean(data: bytes) -> Container:
    """Keep the tables, the frame, the scans, the EXIF data and the colour profile.

    Drop comments, previews, XMP, and data after the end. Raise UnreadableImage, and UnsupportedImageFormat for
    arithmetic coding, which takes ten times as long and which browsers do not read.
    """
    kept, profile = [data[:2]], []
    position, frame, has_exif = 2, b"", False
    for _ in range(MAX_SEGMENTS):
        code, start, position = _next(data, position)
        if code == SOS:
            break
        if code == EOI:
            raise broken("jpeg")
        if code == SOI or code < FRAMES[0]:
            continue
        content = _content(data, position)
        position += 2 + len(content)
        if code in ARITHMETIC:
            raise UnsupportedImageFormat("this is a JPEG with arithmetic coding, which cannot be read here")
        if code in FRAMES:
            frame = bytes([code]) + content
        if code == APP2 and content.startswith(ICC):
            profile.append(content)
        elif code == APP1 and content.startswith(EXIF) and not has_exif:
            has_exif = True
            kept.append(data[start:position])
        elif code in (APP0, APP14) or not (APP0 <= code <= APP15 or code == COM):
            kept.append(data[start:position])
    else:
        raise UnreadableImage(f"the JPEG has more than {MAX_SEGMENTS} segments")
    if len(frame) < 7:
        raise broken("jpeg")
    end = _end_of_scans(data, start, MAX_SCANS if frame[0] == PROGRESSIVE else MAX_SCANS_OF_SEQUENTIAL)
    scans = data[start:end] if end is not None else data[start:].removesuffix(b"\xff") + b"\xff\xd9"
    kept.append(scans)
    return Container(
        b"".join(kept),
        profile=_join(profile),
        extra=_bytes_of_coefficients(frame) if frame[0] == PROGRESSIVE else 0,
        has_end=end is not None,
    )


def _next(data: bytes, position: int) -> tuple[int, int, int]:
    """Return the next marker's code, start and end."""
    match = MARKER.search(data, position)
    if match is None:
        raise broken("jpeg")
    return data[match.start() + 1], match.start(), match.end()


def _content(data: bytes, position: int) -> bytes:
    length = int.from_bytes(data[position : position + 2])
    if length < 2 or position + length > len(data):
        raise broken("jpeg")
    return data[position + 2 : position + length]


def _end_of_scans(data: bytes, position: int, most: int) -> int | None:
    """Return the position after the end marker, or None if it is missing. `position` is the first scan's marker."""
    scans = 0
    for _ in range(MAX_SEGMENTS):
        match = MARKER.search(data, position)
        if match is None:
            return None
        code, position = data[match.start() + 1], match.end()
        if code == EOI:
            return position
        if code < FRAMES[0]:
            continue
        if code == SOS:
            scans += 1
            if scans > most:
                raise UnreadableImage(f"the JPEG has more than {most} scans")
        position += int.from_bytes(data[position : position + 2])
    raise UnreadableImage(f"the JPEG has more than {MAX_SEGMENTS} segments")


def _bytes_of_coefficients(frame: bytes) -> int:
    """Return the bytes of all coefficients, which a decoder of a progressive JPEG keeps in memory."""
    height, width = int.from_bytes(frame[2:4]), int.from_bytes(frame[4:6])
    factors = [(each >> 4, each & 15) for each in frame[8::3]]  # horizontal, vertical
    widest, highest = (max([1, *sides]) for sides in zip(*factors, strict=True)) if factors else (1, 1)
    shares = sum(horizontal * vertical for horizontal, vertical in factors) / (widest * highest)
    return int(BYTES_OF_COEFFICIENT * width * height * shares)


def _join(segments: list[bytes]) -> bytes | None:
    """Join the segments of a profile. Each has its number and the count of segments."""
    head = len(ICC) + 2
    segments = sorted(each for each in segments if len(each) > head)
    if not segments or segments[0][head - 1] != len(segments) or sum(map(len, segments)) > MAX_PROFILE:
        return None
    return b"".join(each[head:] for each in segments)
