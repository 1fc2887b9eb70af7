"""WebP: a RIFF file."""

from flaskapp.images.containers.container import Container, broken

EXTENDED, LOSSY, LOSSLESS = b"VP8X", b"VP8 ", b"VP8L"
START_OF_LOSSY, START_OF_LOSSLESS = b"\x9d\x01\x2a", 0x2F


def clean(data: bytes) -> Container:
    """Read the size: Pillow allocates memory for all pixels when it opens the file. Raise UnreadableImage."""
    kind = data[12:16]
    if len(data) < 30:
        raise broken("webp")
    if kind == EXTENDED:
        size = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    elif kind == LOSSY and data[23:26] == START_OF_LOSSY:
        size = int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    elif kind == LOSSLESS and data[20] == START_OF_LOSSLESS:
        bits = int.from_bytes(data[21:25], "little")
        size = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise broken("webp")
    return Container(data, size=size)
