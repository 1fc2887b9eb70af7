"""GIF (89a): a screen, then extensions and frames, each of sub-blocks of up to 255 bytes."""

import re

from flaskapp.errors import UnreadableImage
from flaskapp.images.containers.container import Container, broken

HEADER = 13  # bytes of the signature and the screen
EXTENSION, FRAME, END = b"!", b",", b";"
BLOCK = re.compile(rb"[!,;]")
GRAPHIC_CONTROL = 0xF9
HAS_TABLE, HAS_TRANSPARENCY = 0x80, 1  # flags
MOST_BLOCKS = 1_000_000  # before the first frame; 16 MiB of text are 66,000


def clean(data: bytes) -> Container:
    """Keep the palette, the first frame and which of its colours is transparent. Raises UnreadableImage.

    The sub-blocks of comments and of other extensions are passed over here, each for a fraction of what Pillow takes.
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
            if blocks > MOST_BLOCKS:
                raise UnreadableImage(f"the GIF has more than {MOST_BLOCKS} blocks before its first frame")
        position += 1
    raise broken("gif")


def _table(data: bytes, flags: int) -> int:
    """The bytes of the palette that the byte at `flags` tells of."""
    if len(data) < HEADER:
        raise broken("gif")
    return 3 << ((data[flags] & 7) + 1) if data[flags] & HAS_TABLE else 0
