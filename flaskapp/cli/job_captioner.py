"""Captions files by jobs of a server, with many files in one upload."""

import tempfile
import threading
import zipfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from flaskapp.cli.captioners import Captioned, Remote
from flaskapp.cli.in_order import in_order
from flaskapp.cli.manifest import Manifest, Version
from flaskapp.cli.outcome import CAPTIONED, FAILED, Outcome, earlier_outcome
from flaskapp.client import Client, ClientError, Job, JobResult, RequestRefused

MAX_IMAGES, MAX_BYTES = 400, 12 * 2**20  # of a job: within the server's default limits
MAX_FILES = 1000  # of a job's group of files, which includes files that are done already
JOBS_IN_FLIGHT = 2  # the server captions one while the next one waits
POLL_INTERVAL = 1.0  # seconds
TOO_LARGE = (413, 422)  # status for an upload over the server's limits


class Pending(NamedTuple):
    """A file to caption."""

    path: Path
    version: Version


class Stopped(Exception):
    """The command stops waiting for a job."""


class Progress:
    """Reports the finished files of a job to a progress bar that several jobs share."""

    lock = threading.Lock()

    def __init__(self, advance: Callable[[int], object]) -> None:
        self._advance = advance
        self._files = 0

    def reach(self, files: int) -> None:
        """Set the number of finished files."""
        with self.lock:
            self._advance(files - self._files)
        self._files = files


class JobCaptioner(Remote):
    """A server that captions files as jobs."""

    def __init__(self, client: Client, config: Mapping[str, Any]) -> None:
        """Check the server. Raises ClickException if it cannot be reached or is not ready."""
        super().__init__(client, config)
        self._stopped = threading.Event()

    def outcomes(
        self, files: Iterable[Path], manifest: Manifest, advance: Callable[[int], object]
    ) -> Generator[Outcome]:
        """Yield the outcome of each file in order. Calls `advance` with the number of newly finished files.

        When closed before the end, cancels its jobs, and adds what they have captioned to the manifest.
        """

        def work(files: Sequence[Outcome | Pending]) -> list[Outcome]:
            pending = [each for each in files if isinstance(each, Pending)]
            Progress(advance).reach(len(files) - len(pending))
            outcomes = iter(self._caption(pending, manifest, advance))
            return [each if isinstance(each, Outcome) else next(outcomes) for each in files]

        with closing(in_order(work, _groups(files, manifest), JOBS_IN_FLIGHT, self._stopped.set)) as jobs:
            for outcomes in jobs:
                yield from outcomes

    def _caption(self, files: Sequence[Pending], manifest: Manifest, advance: Callable[[int], object]) -> list[Outcome]:
        """Caption files by one job, or by two with half of them each if the server refuses the upload as too large."""
        progress = Progress(advance)
        with tempfile.TemporaryFile() as archive:
            unread = _pack(files, archive)
            sent = [file for number, file in enumerate(files) if number not in unread]
            try:
                outcomes = iter(self._run(archive, sent, manifest, progress))
            except RequestRefused as error:
                if error.status in TOO_LARGE and len(files) > 1:
                    halves = files[: len(files) // 2], files[len(files) // 2 :]
                    return [outcome for half in halves for outcome in self._caption(half, manifest, advance)]
                outcomes = _failed(sent, error)
            except ClientError as error:
                outcomes = _failed(sent, error)
        progress.reach(len(files))
        return [
            Outcome(file.path, FAILED, reason=unread[number]) if number in unread else next(outcomes)
            for number, file in enumerate(files)
        ]

    def _run(
        self, archive: BinaryIO, files: Sequence[Pending], manifest: Manifest, progress: Progress
    ) -> list[Outcome]:
        """Run one job, and return the outcomes of its files. Raises ClientError."""
        if not files or self._stopped.is_set():
            return [Outcome(file.path, FAILED, reason="interrupted") for file in files]
        job = self.request(lambda: self.client.submit_job(archive, **self.config))

        def report(job: Job) -> None:
            progress.reach(job.done + job.failed)
            if self._stopped.is_set() and not job.has_ended:
                raise Stopped

        try:
            job = self.request(
                lambda: self.client.wait_for_job(job.id, on_progress=report, longest_pause=POLL_INTERVAL)
            )
        except Stopped:
            self.client.cancel_job(job.id)
            job = self.client.job(job.id)
        results = self.request(lambda: list(self.client.job_results(job.id, page_size=MAX_IMAGES)))
        if len(results) != len(files):
            raise ClientError(f"the server has {len(results)} results for {len(files)} images")
        return [self._outcome(*pair, job, manifest) for pair in zip(files, results, strict=True)]

    def _outcome(self, file: Pending, result: JobResult, job: Job, manifest: Manifest) -> Outcome:
        if result.captions is None:
            return Outcome(file.path, FAILED, reason=result.error or f"the job is {job.state}")
        captioned = Captioned(self.model, result.captions)
        manifest.add(file.version, captioned)
        return Outcome(file.path, CAPTIONED, captioned)


def _failed(files: Iterable[Pending], error: ClientError) -> Iterator[Outcome]:
    return (Outcome(file.path, FAILED, reason=str(error)) for file in files)


def _groups(files: Iterable[Path], manifest: Manifest) -> Iterator[list[Outcome | Pending]]:
    """Group files into jobs. A group also holds the outcomes of files that were done before."""
    group: list[Outcome | Pending] = []
    images = size = 0
    for path in files:
        before = earlier_outcome(path, manifest)
        if isinstance(before, Version):
            if images and (images == MAX_IMAGES or size + before.size > MAX_BYTES):
                yield group
                group, images, size = [], 0, 0
            images, size = images + 1, size + before.size
            group.append(Pending(path, before))
        else:
            group.append(before)
        if len(group) == MAX_FILES:
            yield group
            group, images, size = [], 0, 0
    if group:
        yield group


def _pack(files: Iterable[Pending], archive: BinaryIO) -> dict[int, str]:
    """Write the files into a zip, with numbers as names. Returns the errors of files that cannot be read, by number."""
    unread = {}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zip:
        for number, (path, _) in enumerate(files):
            try:
                data = path.read_bytes()
            except OSError as error:
                unread[number] = error.strerror or str(error)
            else:
                zip.writestr(str(number), data)
    archive.seek(0)
    return unread
