"""Builders of image files that no library writes."""

import struct
import zlib

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Return a chunk of a PNG."""
    checksum = zlib.crc32(kind + content) if checksum is None else checksum
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with more chunks after its header."""
    return png[:33] + b"".join(chunks) + png[33:]


def png_of(width: int, height: int, depth: int, colour_type: int, row: bytes, *chunks: bytes) -> bytes:
    """Return a PNG with equal rows."""
    header = struct.pack(">2I5B", width, height, depth, colour_type, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * height, 9)
    return PNG + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def segment(marker: int, content: bytes) -> bytes:
    """Return a segment of a JPEG."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg_of_scans(width: int, height: int, scans: int, frame: int = 0xC2) -> bytes:
    """Return a grey JPEG: a scan with all DC values, then scans with only empty blocks."""
    blocks = -(-width // 8) * -(-height // 8)
    one_code = bytes([1] + [0] * 15)
    runs = -(-blocks // 32767)  # each with a run-length code of 14 bits
    bits = ("0" + "1" * 14) * runs
    bits += "1" * (-len(bits) % 8)
    empty = bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)).replace(b"\xff", b"\xff\0")
    head = b"\xff\xd8" + segment(0xDB, b"\0" + bytes([1] * 64))
    head += segment(frame, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0]))
    head += segment(0xC4, b"\0" + one_code + b"\0") + segment(0xC4, b"\x10" + one_code + b"\xe0")
    head += segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(blocks // 8 + 1)
    return head + (segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + empty) * (scans - 1) + b"\xff\xd9"


def bmp_of_masks(depth: int, masks: tuple[int, ...], rows: bytes, width: int, height: int, version: int = 5) -> bytes:
    """Return a BMP of bit fields: masks of red, green, blue and, from version 3 on, alpha."""
    size = {1: 40, 3: 56, 5: 124}[version]
    head = struct.pack("<I2i2H6I", size, width, height, 1, depth, 3, len(rows), 0, 0, 0, 0)
    head = (head + struct.pack(f"<{len(masks)}I", *masks)).ljust(size, b"\0")
    return struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(rows), 0, 0, 14 + len(head)) + head + rows


def tiff(*tags: tuple[int, int, int], data: bytes = b"") -> bytes:
    """Return a little-endian TIFF: tags with count and value (long), and data at offset 8."""
    directory = struct.pack("<H", len(tags))
    for tag, count, value in sorted(tags):
        directory += struct.pack("<2H2I", tag, 4, count, value)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def box(kind: bytes, *content: bytes) -> bytes:
    """Return a box of a HEIC or AVIF."""
    inner = b"".join(content)
    return struct.pack(">I4s", 8 + len(inner), kind) + inner


def with_size(boxes: bytes, width: int, height: int) -> bytes:
    """Return a HEIC or AVIF that declares each of its images as `width` x `height`."""
    position = -1
    while (position := boxes.find(b"ispe", position + 1)) >= 0:
        boxes = boxes[: position + 8] + struct.pack(">2I", width, height) + boxes[position + 16 :]
    return boxes
