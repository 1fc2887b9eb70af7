"""The images of one upload: files, or the members of one zip. What they hold is looked at later, one by one."""

import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import NamedTuple

from flaskapp.errors import UnreadableUpload
from flaskapp.jobs.tables import MAX_INPUT

ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # the second begins an empty one
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 0x1  # a member's flag
UTF_8 = 0x800  # likewise
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)

LEAST = 2**12  # bytes
ENTRY = rb"PK\x01\x02(?=.{26}(..))"  # of a zip's directory, and the length of its extra field
ENTRIES, LEAST_ENTRIES = 4, 1000  # for each image that is allowed, and for all: folders, and what systems add
MAX_EXTRA = 1024  # bytes: times and owners


class NamedFile(NamedTuple):
    name: str
    data: bytes


@dataclass(frozen=True)
class Limits:
    images: int
    bytes: int  # of all of them, unpacked


class Bundle:
    """Named files in their order. They are unpacked as they are asked for, and do not lie in memory at once."""

    def __init__(self, names: Sequence[str], sizes: Sequence[int], read: Callable[[int], bytes]) -> None:
        self.names = [_as_text(name) for name in names]
        self._sizes, self._read = sizes, read

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[NamedFile]:
        for number, name in enumerate(self.names):
            yield NamedFile(name, self._read(number))

    def chunks(self, size: int) -> Iterator[list[NamedFile]]:
        files = iter(self)
        while chunk := list(islice(files, size)):
            yield chunk

    @property
    def size(self) -> int:
        """Bytes of all of them, where each counts as no less than its rows in a database take."""
        return sum(max(size, LEAST) for size in self._sizes)

    def largest(self, size: int) -> int:
        """The bytes of the largest of these chunks."""
        return max(sum(self._sizes[first : first + size]) for first in range(0, len(self), size))

    def fingerprint(self, *more: str) -> str:
        """A hash of all names and contents, and some text. Raises UnreadableUpload for a member that is broken."""
        whole = hashlib.sha256(repr(more).encode())
        for file in self:
            for part in (file.name.encode(), file.data):
                whole.update(len(part).to_bytes(8) + part)
        return whole.hexdigest()


def unpack(files: Sequence[NamedFile], limits: Limits) -> Bundle:
    """What was uploaded, from one zip or as it is. The content decides whether it is a zip.

    Raises UnreadableUpload for no images, more than `limits` allows, or a zip that is broken, encrypted or not alone.
    """
    zips = [file for file in files if file.data.startswith(ZIP_SIGNATURES)]
    if zips and len(files) > 1:
        raise UnreadableUpload("send one zip alone, or images")
    if zips:
        return _open_zip(zips[0].data, limits)
    _check(len(files), sum(len(file.data) for file in files), limits)
    return Bundle([file.name for file in files], [len(file.data) for file in files], lambda number: files[number].data)


def _open_zip(data: bytes, limits: Limits) -> Bundle:
    """Sizes are believed: no more than a member says it has is ever unpacked, and it is broken then."""
    _check_directory(data, limits)
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        members = [member for member in archive.infolist() if _is_wanted(member)]
    except BROKEN as error:
        raise UnreadableUpload("the zip is broken") from error
    _check(len(members), sum(member.file_size for member in members), limits)
    for member in members:
        if member.flag_bits & ENCRYPTED:
            raise UnreadableUpload("the zip is encrypted")
        if member.compress_type not in COMPRESSIONS:
            raise UnreadableUpload("the zip is compressed in another way than deflate")

    def read(number: int) -> bytes:
        try:
            with archive.open(members[number]) as member:
                return member.read(members[number].file_size + 1)  # to its end: only there is its checksum looked at
        except BROKEN as error:
            raise UnreadableUpload("the zip is broken") from error

    return Bundle([_name(member) for member in members], [member.file_size for member in members], read)


def _check_directory(data: bytes, limits: Limits) -> None:
    """Refuse a directory that would take long to read. What is in there by chance as well counts, and is little."""
    most = max(LEAST_ENTRIES, ENTRIES * limits.images)
    for number, entry in enumerate(re.finditer(ENTRY, data, re.DOTALL)):
        if number >= most:
            raise UnreadableUpload(f"the zip has more than {most} files and folders")
        if int.from_bytes(entry[1], "little") > MAX_EXTRA:
            raise UnreadableUpload("the zip has too much about its files beside them")


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    """Not a folder, nor what systems add by themselves."""
    parts = PurePosixPath(member.filename).parts
    return not member.is_dir() and "__MACOSX" not in parts and not (parts and parts[-1].startswith("."))


def _name(member: zipfile.ZipInfo) -> str:
    """Without the flag for UTF-8 a name is in code page 437, by the format. macOS sets none, and writes UTF-8."""
    if member.flag_bits & UTF_8:
        return member.filename
    try:
        return member.filename.encode("cp437").decode()
    except UnicodeError:
        return member.filename


def _check(images: int, size: int, limits: Limits) -> None:
    if images == 0:
        raise UnreadableUpload("there are no images in it")
    if images > limits.images:
        raise UnreadableUpload(f"send at most {limits.images} images in a job")
    if size > limits.bytes:
        raise UnreadableUpload(f"the images have more than {limits.bytes // 2**20} MiB together")


def _as_text(name: str) -> str:
    """A name that can be stored and sent on. It is only ever told, never a path to anything."""
    return name.replace("\0", "").encode(errors="replace").decode()[:MAX_INPUT]
