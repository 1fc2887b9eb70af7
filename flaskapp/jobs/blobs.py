"""Stores the images of jobs until they are captioned, one file per chunk: in a folder or any store of fsspec."""

import io
import logging
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from flaskapp.errors import BlobStoreUnavailable
from flaskapp.threads import under_gevent

log = logging.getLogger(__name__)


class Blobs:
    """The store at a URL. Opens nothing before the first call, so it is safe to fork."""

    def __init__(self, url: str) -> None:
        self._url = url

    def write(self, job_id: str, chunk: int, images: Mapping[int, bytes]) -> None:
        """Store the images of a chunk by their numbers. Raises BlobStoreUnavailable."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:  # images are compressed already
            for number, data in images.items():
                archive.writestr(str(number), data)
        try:
            self._write(job_id, f"{job_id}/{chunk}", packed.getvalue())
        except FileNotFoundError as error:  # the job was removed meanwhile, or the store lacks the bucket
            log.error("The blob store failed: %s", error)
            raise BlobStoreUnavailable("the images cannot be stored at the moment") from error

    def _write(self, job_id: str, name: str, data: bytes) -> None:
        with self._open() as (files, root):
            files.makedirs(f"{root}/{job_id}", exist_ok=True)
            if not isinstance(files, LocalFileSystem):  # other stores write a file atomically
                files.pipe_file(f"{root}/{name}", data)
                return
            unfinished = Path(root, f"{name}.{uuid.uuid4().hex}")
            try:
                unfinished.write_bytes(data)
                unfinished.replace(Path(root, name))
            finally:
                unfinished.unlink(missing_ok=True)

    def read(self, job_id: str, chunk: int, numbers: Iterable[int]) -> dict[int, bytes]:
        """Return images by their numbers.

        Raises FileNotFoundError for a missing, incomplete or damaged file, and BlobStoreUnavailable.
        """
        with self._open() as (files, root):
            packed = files.cat_file(f"{root}/{job_id}/{chunk}")
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                return {number: archive.read(str(number)) for number in numbers}
        except Exception as error:  # zipfile raises many types for damaged files
            log.error("Chunk %d of job %s is damaged in the blob store: %r", chunk, job_id, error)
            raise FileNotFoundError(f"{job_id}/{chunk}") from error

    def remove(self, job_id: str, chunk: int | None = None) -> None:
        """Remove all images of a job, or of one of its chunks, if there are any. Raises BlobStoreUnavailable."""
        name = job_id if chunk is None else f"{job_id}/{chunk}"
        with self._open() as (files, root), suppress(FileNotFoundError):
            files.rm(f"{root}/{name}", recursive=chunk is None)

    @contextmanager
    def _open(self) -> Iterator[tuple[AbstractFileSystem, str]]:
        """Yield the store and its root. Raises BlobStoreUnavailable, and FileNotFoundError from the caller's block."""
        is_open = False
        try:
            files, root = url_to_fs(self._url)
            if files.async_impl and under_gevent():  # asyncio and gevent cannot share a thread
                log.error("This blob store needs gunicorn with `--worker-class gthread --threads 64`")
                raise BlobStoreUnavailable("the images cannot be stored: the server's log says why")
            if isinstance(files, LocalFileSystem):
                Path(root).mkdir(mode=0o700, parents=True, exist_ok=True)
            is_open = True
            yield files, root
        except BlobStoreUnavailable:
            raise
        except Exception as error:  # each store has its own error types
            if is_open and isinstance(error, FileNotFoundError):  # otherwise the store's own folder cannot be created
                raise
            log.error("The blob store failed: %s", error)
            raise BlobStoreUnavailable("the images cannot be stored or read at the moment") from error
