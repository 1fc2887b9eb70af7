"""GIF (89a): a screen, then extensions and frames in sub-blocks of up to 255 bytes."""

import re

from flaskapp.errors import UnreadableImage
from flaskapp.images.containers.container import Container, broken

HEADER = 13  # bytes of the signature and the screen
EXTENSION, FRAME, END = b"!", b",", b";"
BLOCK = re.compile(rb"[!,;]")
GRAPHIC_CONTROL = 0xF9
HAS_TABLE, HAS_TRANSPARENCY = 0x80, 1  # flags
MAX_BLOCKS = 1_000_000  # sub-blocks before the first frame; 16 MiB of text are 66,000


def clean(data: bytes) -> Container:
    """Keep the palette, the first frame and its transparent colour. Raise UnreadableImage.

    Skipping the sub-blocks of comments and other extensions here takes a fraction of Pillow's time.
    """
    start = position = HEADER + _table(data, HEADER - 3)
    control, blocks = b"", 0
    while match := BLOCK.search(data, position):
        position = match.start()
        if match[0] == END:
            break
        if match[0] == FRAME:
            return Container(b"".join([data[:start], control, data[position:]]))
        label, position = data[position + 1 : position + 2], position + 2
        if label == bytes([GRAPHIC_CONTROL]) and len(data) >= position + 5:
            control = b"!\xf9\4" + bytes([data[position + 1] & HAS_TRANSPARENCY, 0, 0, data[position + 4], 0])
        while position < len(data) and (length := data[position]):
            position += length + 1
            blocks += 1
            if blocks > MAX_BLOCKS:
                raise UnreadableImage(f"the GIF has more than {MAX_BLOCKS} blocks before its first frame")
        position += 1
    raise broken("gif")


def _table(data: bytes, flags: int) -> int:
    """Return the bytes of the palette, by the flags at position `flags`."""
    if len(data) < HEADER:
        raise broken("gif")
    return 3 << ((data[flags] & 7) + 1) if data[flags] & HAS_TABLE else 0
