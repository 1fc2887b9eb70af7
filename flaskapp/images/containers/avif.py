"""AVIF: boxes (ISO 14496-12) whose items (ISO 23008-12) contain AV1 pictures with an AV1 header."""

from collections.abc import Iterator

from flaskapp.images.containers.boxes import BROKEN, Numbers, boxes_of, meta_of, table_of
from flaskapp.images.containers.container import Container, broken

MAX_ITEMS = 4096
MAX_PARTS = 10_000  # of all items together
MAX_UNITS = 20_000  # AV1 units (OBUs) of all items together; an image has two or three
MAX_COPIES = 4  # bytes of all items, in multiples of the file's: equal tiles share their bytes
SEQUENCE_HEADER = 1  # type of an AV1 unit
EXIF, IGNORED = b"Exif", b"skip"  # types of items; decoders ignore the second


def clean(data: bytes) -> Container:
    """Count the pixels of all pictures by their AV1 headers, which libavif trusts.

    An image of 100 x 100 pixels in the boxes may be 16,384 wide in AV1. Mark a sequence as a still image. Drop EXIF
    data: the boxes have the orientation, and Pillow copies the rest in Python. Raise UnreadableImage.
    """
    try:
        boxes = dict(boxes_of(meta_of(data)))
        units = Budget(MAX_UNITS)
        items = _items(data, table_of(boxes, b"iloc"), boxes.get(b"idat", b""))
        coded = sum(_pixels(item, units) for item in items)
    except BROKEN:
        raise broken("avif") from None
    infos = boxes.get(b"iinf", b"")
    if EXIF in infos:
        data = data.replace(infos, infos.replace(EXIF, IGNORED))
    return Container(b"".join([data[:8], b"avif", data[12:]]), coded=coded)


class Budget:
    """A limited amount. `spend` raises IndexError once it is used up."""

    def __init__(self, most: int) -> None:
        self._left = most

    def spend(self, amount: int = 1) -> None:
        self._left -= amount
        if self._left < 0:
            raise IndexError("the file would take too long to read")


def _items(data: bytes, iloc: bytes, idat: bytes) -> Iterator[bytes]:
    """Yield the content of each item. `iloc` lists the positions of its parts, in numbers of 0, 4 or 8 bytes.

    Parts may overlap, and entries may take no bytes in the list: so their number and total size are bounded.
    """
    counts, copies = Budget(MAX_PARTS), Budget(MAX_COPIES * len(data))
    version = iloc[0]
    sizes = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if version in (1, 2) else 0
    of_offset, of_length, of_base, of_index = sizes
    numbers = Numbers(iloc, 6)
    count = numbers.read(2 if version < 2 else 4)
    if count > MAX_ITEMS:
        raise IndexError("too many items")
    for _ in range(count):
        numbers.read(2 if version < 2 else 4)  # id
        is_inside = version in (1, 2) and numbers.read(2) & 15 == 1  # in the box "idat"
        numbers.read(2)  # data reference: always this file
        base = numbers.read(of_base)
        parts = []
        for _ in range(numbers.read(2)):
            counts.spend()
            numbers.read(of_index)
            start, length = base + numbers.read(of_offset), numbers.read(of_length)
            source = idat if is_inside else data
            part = source[start : start + length] if length else source[start:]
            copies.spend(len(part))
            parts.append(part)
        yield b"".join(parts)


def _pixels(item: bytes, units: Budget) -> int:
    """Return the pixels of the largest picture in the AV1 units of an item. Other items have none."""
    position = most = 0
    while position < len(item) and not item[position] & 0x80:  # the first bit is always 0
        units.spend()
        kind, has_extension, has_size = item[position] >> 3 & 15, item[position] & 4, item[position] & 2
        position += 2 if has_extension else 1
        size = len(item) - position
        if has_size:
            size, position = _leb128(item, position)
        if kind == SEQUENCE_HEADER:
            most = max(most, _largest_frame(item[position : position + min(size, 64)]))
        position += size
    return most


def _leb128(data: bytes, position: int) -> tuple[int, int]:
    """Decode LEB128: groups of seven bits, lowest first. Return the number and the position after it."""
    number = 0
    for index, byte in enumerate(data[position : position + 8]):
        number |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return number, position + index + 1
    return len(data), len(data)


def _largest_frame(header: bytes) -> int:
    """Return the pixels of the largest frame that a sequence header (AV1, 5.5) allows."""
    bits = _Bits(header)
    bits.read(3)  # profile
    bits.read(1)  # still picture
    if bits.read(1):  # reduced header
        bits.read(5)  # level
    else:
        _skip_operating_points(bits)
    of_width, of_height = bits.read(4) + 1, bits.read(4) + 1
    return (bits.read(of_width) + 1) * (bits.read(of_height) + 1)


def _skip_operating_points(bits: "_Bits") -> None:
    has_model, of_delay = 0, 0
    if bits.read(1):  # timing
        bits.read(64)
        if bits.read(1):  # equal intervals: a number, with as many leading zeros as further bits
            zeros = next((index for index in range(32) if bits.read(1)), 32)
            bits.read(zeros)
        has_model = bits.read(1)
        if has_model:
            of_delay = bits.read(5) + 1
            bits.read(32 + 5 + 5)
    has_initial_delay = bits.read(1)
    for _ in range(bits.read(5) + 1):
        bits.read(12)
        if bits.read(5) > 7:  # level
            bits.read(1)
        if has_model and bits.read(1):
            bits.read(2 * of_delay + 1)
        if has_initial_delay and bits.read(1):
            bits.read(4)


class _Bits:
    """Reads bits, highest first. After the end, all bits are zero."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        shifted = self._number >> self._left if self._left >= 0 else self._number << -self._left
        return shifted & (1 << count) - 1
