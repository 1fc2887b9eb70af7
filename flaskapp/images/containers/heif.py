"""HEIC: boxes (ISO 14496-12) whose items (ISO 23008-12) are pictures, or derived from other items."""

import struct
from functools import cache

from flaskapp.images.containers.boxes import BROKEN, FULL, Numbers, boxes_of, meta_of, table_of
from flaskapp.images.containers.container import Container, broken

DERIVED_FROM, AUXILIARY_TO = b"dimg", b"auxl"  # kinds of references
MAX_DEPTH = 4  # of derived items; a grid of rotated pictures has 2

References = dict[bytes, list[tuple[int, list[int]]]]


def clean(data: bytes) -> Container:
    """Count the pixels that are decoded for the image and its alpha, by the sizes of their parts.

    A grid or overlay may refer to one large picture thousands of times, and libheif decodes it each time. libheif only
    checks that no picture is larger than its size in the boxes. Raise UnreadableImage.
    """
    try:
        boxes = dict(boxes_of(meta_of(data)))
        primary = int.from_bytes(boxes[b"pitm"][FULL:])
        areas = _areas(dict(boxes_of(boxes[b"iprp"])))
        references = _references(table_of(boxes, b"iref")) if b"iref" in boxes else {}
        parts = dict(references.get(DERIVED_FROM, []))
        auxiliary = [item for item, targets in references.get(AUXILIARY_TO, []) if primary in targets]

        @cache
        def cost(item: int, depth: int) -> int:
            if depth > MAX_DEPTH:
                raise broken("heif")
            if item not in parts:
                return areas.get(item, 0)
            return sum(cost(part, depth + 1) for part in parts[item])

        return Container(data, coded=sum(cost(item, 0) for item in (primary, *auxiliary)))
    except BROKEN:
        raise broken("heif") from None


def _areas(properties: dict[bytes, bytes]) -> dict[int, int]:
    """Return the pixels of each item, by its associated size."""
    sizes = [
        struct.unpack_from(">2I", content, FULL) if kind == b"ispe" else None
        for kind, content in boxes_of(properties[b"ipco"])
    ]
    association = table_of(properties, b"ipma")
    of_id, of_index = 4 if association[0] else 2, 2 if association[3] & 1 else 1
    essential = 1 << (8 * of_index - 1)  # flag in the same number as the index
    numbers, areas = Numbers(association, FULL), {}
    for _ in range(numbers.read(4)):
        item = numbers.read(of_id)
        for _ in range(numbers.read(1)):
            index = numbers.read(of_index) & ~essential
            size = sizes[index - 1] if 0 < index <= len(sizes) else None
            if size is not None:
                areas[item] = size[0] * size[1]
    return areas


def _references(iref: bytes) -> References:
    """Return the references of each kind: an item, and the items that it refers to."""
    of_id = 4 if iref[0] else 2
    references: References = {}
    for kind, content in boxes_of(iref[FULL:]):
        numbers = Numbers(content, 0)
        item = numbers.read(of_id)
        targets = [numbers.read(of_id) for _ in range(numbers.read(2))]
        references.setdefault(kind, []).append((item, targets))
    return references
