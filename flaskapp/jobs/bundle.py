"""The images of one upload: files, or the members of one zip. Workers decode them later, one by one."""

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

ZIP_SIGNATURES = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an empty zip
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED, UTF_8 = 0x1, 0x800  # flags of a member
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)

MIN_SIZE = 2**12  # bytes that an image counts for at least: its rows in the database take about as many
ENTRY = rb"PK\x01\x02(?=.{26}(..))"  # an entry of a zip's directory; the group is the length of its extra field
ENTRIES_PER_IMAGE, MIN_ENTRIES = 4, 1000  # directory entries allowed: also folders, and files that systems add
MAX_EXTRA = 1024  # bytes of an extra field, which holds times and owners


class NamedFile(NamedTuple):
    name: str
    data: bytes


@dataclass(frozen=True)
class Limits:
    images: int
    bytes: int  # of all images, unpacked


class Bundle:
    """Named files in upload order. Each is unpacked when it is iterated over, so memory never holds them all."""

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
        """Bytes of all images, each counted as MIN_SIZE or more."""
        return sum(max(size, MIN_SIZE) for size in self._sizes)

    def largest_chunk(self, size: int) -> int:
        """Bytes of the largest chunk of `size` images."""
        return max(sum(self._sizes[first : first + size]) for first in range(0, len(self), size))

    def fingerprint(self, *more: str) -> str:
        """Hash all names, all contents and `more`. Raises UnreadableUpload for a broken member."""
        whole = hashlib.sha256(repr(more).encode())
        for file in self:
            for part in (file.name.encode(), file.data):
                whole.update(len(part).to_bytes(8) + part)
        return whole.hexdigest()


def unpack(files: Sequence[NamedFile], limits: Limits) -> Bundle:
    """Return the images of an upload. Content decides whether a file is a zip, not its name.

    Raises UnreadableUpload if there are no images or more than `limits` allows, if a zip is broken or encrypted, or if
    it is not the only file.
    """
    zips = [file for file in files if file.data.startswith(ZIP_SIGNATURES)]
    if zips and len(files) > 1:
        raise UnreadableUpload("send one zip alone, or images")
    if zips:
        return _open_zip(zips[0].data, limits)
    _check(len(files), sum(len(file.data) for file in files), limits)
    return Bundle([file.name for file in files], [len(file.data) for file in files], lambda number: files[number].data)


def _open_zip(data: bytes, limits: Limits) -> Bundle:
    """Trust the sizes in the directory: a member with more data than that is broken, and is not unpacked further."""
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
                return member.read(members[number].file_size + 1)  # zipfile checks the checksum at the end
        except BROKEN as error:
            raise UnreadableUpload("the zip is broken") from error

    return Bundle([_name(member) for member in members], [member.file_size for member in members], read)


def _check_directory(data: bytes, limits: Limits) -> None:
    """Refuse a directory that would take long to read.

    Compressed data may contain the signature of an entry by chance, too rarely to matter.
    """
    most = max(MIN_ENTRIES, ENTRIES_PER_IMAGE * limits.images)
    for number, entry in enumerate(re.finditer(ENTRY, data, re.DOTALL)):
        if number >= most:
            raise UnreadableUpload(f"the zip has more than {most} files and folders")
        if int.from_bytes(entry[1], "little") > MAX_EXTRA:
            raise UnreadableUpload("the zip has too much about its files beside them")


def _is_wanted(member: zipfile.ZipInfo) -> bool:
    """Return False for folders, hidden files and the files that macOS adds."""
    parts = PurePosixPath(member.filename).parts
    return not member.is_dir() and "__MACOSX" not in parts and not (parts and parts[-1].startswith("."))


def _name(member: zipfile.ZipInfo) -> str:
    """Decode a member's name. Without the UTF-8 flag it is in code page 437, but macOS writes UTF-8 without it."""
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
    """Return a name that the database and JSON can hold. It is only displayed, never used as a path."""
    return name.replace("\0", "").encode(errors="replace").decode()[:MAX_INPUT]
