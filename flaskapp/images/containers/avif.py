"""AVIF: boxes (ISO 14496-12) whose items (ISO 23008-12) hold AV1 pictures, and AV1's own header."""

from collections.abc import Iterator

from flaskapp.images.containers.boxes import BROKEN, Numbers, boxes_of, meta_of, table_of
from flaskapp.images.containers.container import Container, broken

MOST_ITEMS = 4096
MOST_PARTS = 10_000  # of all items together
MOST_UNITS = 20_000  # AV1 units of all items together; an image has two or three
MOST_COPIES = 4  # bytes of all items, in multiples of the file: equal tiles share their bytes
SEQUENCE_HEADER = 1  # type of an AV1 unit (OBU)
EXIF, NOTHING = b"Exif", b"skip"  # types of items; of the latter decoders take no notice


def clean(data: bytes) -> Container:
    """Find out how many pixels its pictures have together, by what AV1 says of each: libavif believes that.

    A file may call an image of 100 x 100 pixels what AV1 makes 16,384 wide. Of a sequence the still image is read.
    EXIF data is dropped: the boxes have the orientation, and Pillow copies the rest in Python. Raises UnreadableImage.
    """
    try:
        boxes = dict(boxes_of(meta_of(data)))
        units = Budget(MOST_UNITS)
        items = _items(data, table_of(boxes, b"iloc"), boxes.get(b"idat", b""))
        coded = sum(_pixels(item, units) for item in items)
    except BROKEN:
        raise broken("avif") from None
    infos = boxes.get(b"iinf", b"")
    if EXIF in infos:
        data = data.replace(infos, infos.replace(EXIF, NOTHING))
    return Container(b"".join([data[:8], b"avif", data[12:]]), coded=coded)


class Budget:
    """What may be spent. Raises IndexError when it is gone."""

    def __init__(self, most: int) -> None:
        self._left = most

    def spend(self, amount: int = 1) -> None:
        self._left -= amount
        if self._left < 0:
            raise IndexError("the file would take too long to read")


def _items(data: bytes, iloc: bytes, idat: bytes) -> Iterator[bytes]:
    """The content of each item. `iloc` lists where the parts of each lie, with numbers of 0, 4 or 8 bytes.

    Parts may overlap, and have no bytes in the list: their number and their size are bounded.
    """
    counts, copies = Budget(MOST_PARTS), Budget(MOST_COPIES * len(data))
    version = iloc[0]
    sizes = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if version in (1, 2) else 0
    of_offset, of_length, of_base, of_index = sizes
    numbers = Numbers(iloc, 6)
    count = numbers.read(2 if version < 2 else 4)
    if count > MOST_ITEMS:
        raise IndexError("too many items")
    for _ in range(count):
        numbers.read(2 if version < 2 else 4)  # id
        is_inside = version in (1, 2) and numbers.read(2) & 15 == 1  # lies in the box "idat"
        numbers.read(2)  # which file: this one
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
    """The pixels of the largest picture that the AV1 units of an item tell of. Items of other kinds have none."""
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
    """A number in groups of seven bits, the lowest first, and the position after it."""
    number = 0
    for index, byte in enumerate(data[position : position + 8]):
        number |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return number, position + index + 1
    return len(data), len(data)


def _largest_frame(header: bytes) -> int:
    """The pixels of the largest frame that a sequence header (AV1, 5.5) allows."""
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
        if bits.read(1):  # equal intervals: a number whose leading zeros tell its length
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
    """Bits from the highest. Beyond the end there are zeros."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data), 8 * len(data)

    def read(self, count: int) -> int:
        self._left -= count
        shifted = self._number >> self._left if self._left >= 0 else self._number << -self._left
        return shifted & (1 << count) - 1
