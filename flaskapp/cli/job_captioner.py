"""A server that captions the files of a command as jobs: many in one upload, captioned when it has time for them."""

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
from flaskapp.cli.outcome import CAPTIONED, FAILED, Outcome, outcome_before
from flaskapp.client import Client, ClientError, Job, JobResult, RequestRefused

IMAGES, BYTES = 400, 12 * 2**20  # of a job: uploads that the server's default bounds have room for
FILES = 1000  # that are looked at for one job: most of them may be done before
JOBS_IN_FLIGHT = 2  # one is captioned, the next one waits
PAUSE = 1.0  # seconds between two looks how a job stands
TOO_MUCH = (413, 422)  # what a server with tighter bounds says of an upload


class Wanted(NamedTuple):
    path: Path
    version: Version


class Stopped(Exception):
    """The job is not waited for any more."""


class Progress:
    """How many files of a job are done, told to a bar that several jobs share."""

    lock = threading.Lock()

    def __init__(self, advance: Callable[[int], object]) -> None:
        self._advance = advance
        self._files = 0

    def reach(self, files: int) -> None:
        with self.lock:
            self._advance(files - self._files)
        self._files = files


class JobCaptioner(Remote):
    def __init__(self, client: Client, config: Mapping[str, Any]) -> None:
        """Raises ClickException if there is no such server, or if it is not ready."""
        super().__init__(client, config)
        self._stopped = threading.Event()

    def outcomes(self, files: Iterable[Path], known: Manifest, advance: Callable[[int], object]) -> Generator[Outcome]:
        """What becomes of each file, in their order. `advance` is told of so many more that are done.

        When it is closed before the end, its jobs are cancelled; what they had captioned is in the manifest.
        """

        def work(files: Sequence[Outcome | Wanted]) -> list[Outcome]:
            wanted = [each for each in files if isinstance(each, Wanted)]
            Progress(advance).reach(len(files) - len(wanted))
            made = iter(self._caption(wanted, known, advance))
            return [each if isinstance(each, Outcome) else next(made) for each in files]

        with closing(in_order(work, _in_jobs(files, known), JOBS_IN_FLIGHT, self._stopped.set)) as jobs:
            for outcomes in jobs:
                yield from outcomes

    def _caption(self, files: Sequence[Wanted], known: Manifest, advance: Callable[[int], object]) -> list[Outcome]:
        """As one job, or as two where that is too much for the server."""
        progress = Progress(advance)
        with tempfile.TemporaryFile() as archive:
            unread = _pack(files, archive)
            sent = [file for number, file in enumerate(files) if number not in unread]
            try:
                made = iter(self._run(archive, sent, known, progress))
            except RequestRefused as error:
                if error.status in TOO_MUCH and len(files) > 1:
                    halves = files[: len(files) // 2], files[len(files) // 2 :]
                    return [outcome for half in halves for outcome in self._caption(half, known, advance)]
                made = _failed(sent, error)
            except ClientError as error:
                made = _failed(sent, error)
        progress.reach(len(files))
        return [
            Outcome(file.path, FAILED, reason=unread[number]) if number in unread else next(made)
            for number, file in enumerate(files)
        ]

    def _run(self, archive: BinaryIO, files: Sequence[Wanted], known: Manifest, progress: Progress) -> list[Outcome]:
        """Raises ClientError."""
        if not files or self._stopped.is_set():
            return [Outcome(file.path, FAILED, reason="interrupted") for file in files]
        job = self.request(lambda: self.client.submit_job(archive, **self.config))

        def look(job: Job) -> None:
            progress.reach(job.done + job.failed)
            if self._stopped.is_set() and not job.has_ended:
                raise Stopped

        try:
            job = self.request(lambda: self.client.wait_for_job(job.id, on_progress=look, longest_pause=PAUSE))
        except Stopped:
            self.client.cancel_job(job.id)
            job = self.client.job(job.id)
        results = self.request(lambda: list(self.client.job_results(job.id, page_size=IMAGES)))
        if len(results) != len(files):
            raise ClientError(f"the server has {len(results)} results for {len(files)} images")
        return [self._outcome(*pair, job, known) for pair in zip(files, results, strict=True)]

    def _outcome(self, file: Wanted, result: JobResult, job: Job, known: Manifest) -> Outcome:
        if result.captions is None:
            return Outcome(file.path, FAILED, reason=result.error or f"the job is {job.state}")
        captioned = Captioned(self.model, result.captions)
        known.add(file.version, captioned)
        return Outcome(file.path, CAPTIONED, captioned)


def _failed(files: Iterable[Wanted], error: ClientError) -> Iterator[Outcome]:
    return (Outcome(file.path, FAILED, reason=str(error)) for file in files)


def _in_jobs(files: Iterable[Path], known: Manifest) -> Iterator[list[Outcome | Wanted]]:
    """As many files as make a job, with what became of those between them before."""
    task: list[Outcome | Wanted] = []
    images = size = 0
    for path in files:
        before = outcome_before(path, known)
        if isinstance(before, Version):
            if images and (images == IMAGES or size + before.size > BYTES):
                yield task
                task, images, size = [], 0, 0
            images, size = images + 1, size + before.size
            task.append(Wanted(path, before))
        else:
            task.append(before)
        if len(task) == FILES:
            yield task
            task, images, size = [], 0, 0
    if task:
        yield task


def _pack(files: Iterable[Wanted], archive: BinaryIO) -> dict[int, str]:
    """Write the files into a zip, by numbers for names. Returns why some, by their numbers, cannot be read."""
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
