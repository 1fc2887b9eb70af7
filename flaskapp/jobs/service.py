"""What clients ask of jobs: to take one, how it stands, what came of its images, to cancel it."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain

from flaskapp.captioner import GenerationSettings
from flaskapp.errors import BlobStoreUnavailable, BrokerUnavailable, Unavailable, UnknownJob
from flaskapp.jobs.blobs import Blobs
from flaskapp.jobs.bundle import Bundle, Limits, NamedFile, unpack
from flaskapp.jobs.claims import ChunkId, Counts
from flaskapp.jobs.keeper import Keeper
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.queue import Queue
from flaskapp.jobs.tables import ACTIVE, QUEUED, RECEIVING, Image, Job
from flaskapp.machine import usable_cores
from flaskapp.threads import Threads
from flaskapp.turns import Turns

log = logging.getLogger(__name__)

PAGE = 500  # rows that are read at once

# A job that is being taken has a chunk in memory, unpacked and packed again.
MEMORY = 2**28  # bytes


@dataclass(frozen=True)
class JobStatus:
    id: str
    state: str
    total: int  # images
    done: int  # with captions
    failed: int  # with a reason why there are none
    seconds_remaining: float | None  # as far as can be told
    created_at: float  # this and the next, seconds since 1970
    ended_at: float | None
    sequences: int  # captions of an image


class Jobs:
    """The jobs of one database, blob store and queue."""

    def __init__(
        self, ledger: Ledger, blobs: Blobs, queue: Queue, keeper: Keeper, *, chunk_size: int, seconds_kept: int
    ) -> None:
        self.ledger, self.blobs, self.queue, self.keeper = ledger, blobs, queue, keeper
        self.on_wait: Callable[[], None] = lambda: None  # called when an unfinished job is submitted or read
        self._chunk_size = chunk_size
        self._seconds_kept = seconds_kept
        busy = "too many jobs arrive at once"
        self._openings = Turns(1, wait=10, busy=busy)
        self._turns = Turns(MEMORY, wait=10, busy=busy)
        self._threads = Threads(usable_cores())  # for the decompression of what was uploaded

    def submit(
        self,
        files: Sequence[NamedFile],
        limits: Limits,
        settings: GenerationSettings,
        owner: str,
        key: str | None,
        client: str = "",
        admit: Callable[[int], None] = lambda images: None,
    ) -> JobStatus:
        """Take a job, or find the one that was made with the same key and content.

        First its rows and files, then the messages: what is not sent then, the workers' keeper sends.
        `client` is what quotas and turns go by. `admit` is called with the number of images of a new job that is within
        these quotas, and may refuse it by raising an error. Raises UnreadableUpload, KeyReused, TooBusy, QuotaExceeded,
        DatabaseUnavailable, BlobStoreUnavailable, BrokerUnavailable.
        """
        with self._openings.take():
            bundle = self._threads.run(lambda: unpack(files, limits))
        with self._turns.take(bundle.largest(self._chunk_size)), self.queue.open() as send:
            config = asdict(settings)
            fingerprint = self._threads.run(lambda: bundle.fingerprint(repr(config)))
            job = self.ledger.open(owner, key, fingerprint, config, len(bundle), bundle.size, client, admit)
            if job.state == RECEIVING:
                with self._forgetting(job):
                    chunks = self._store(job.id, bundle)
                    if not self.ledger.accept(job.id, bundle.names, self._chunk_size):
                        for done in self.ledger.done_chunks(job.id):  # another took it, and we stored it once more
                            self.blobs.remove(job.id, done)
                try:
                    send(ChunkId(job.id, number) for number in range(chunks))
                except BrokerUnavailable:
                    log.warning("The messages of a job could not all be sent: they will be")
        return self.find(job.id, owner)

    def _store(self, job_id: str, bundle: Bundle) -> int:
        number = 0
        for number, files in enumerate(self._threads.each(bundle.chunks(self._chunk_size))):
            first = number * self._chunk_size
            self.blobs.write(job_id, number, {first + place: file.data for place, file in enumerate(files)})
        return number + 1

    @contextmanager
    def _forgetting(self, job: Job) -> Iterator[None]:
        """What could not be stored takes no room, unless another try may go on with it: one with its key."""
        try:
            yield
        except Unavailable:
            if job.key is None:
                with suppress(Unavailable):
                    self.ledger.cancel(job.id)
                    self.blobs.remove(job.id)
            raise

    def find(self, job_id: str, owner: str) -> JobStatus:
        """Raises UnknownJob, also for a job that is another's."""
        found = self.ledger.find(job_id, owner)
        if found is None:
            raise UnknownJob("there is no such job")
        if found[0].state in ACTIVE:
            self.on_wait()
        return _status(*found)

    def results(self, job: JobStatus, first: int, count: int) -> Sequence[Image]:
        """What is known of some images, in upload order. None beyond the last: no database is asked for those."""
        return self.ledger.images(job.id, first, count) if first < job.total else []

    def all_results(self, job: JobStatus) -> Iterator[Image]:
        """What is known of all images. The first are read at once, so that a failure can still be told.

        Raises UnknownJob, then or later, if the job is forgotten meanwhile.
        """
        first, *others = (partial(self._page, job, first) for first in range(0, job.total, PAGE))
        return chain(first(), chain.from_iterable(read() for read in others))

    def _page(self, job: JobStatus, first: int) -> Sequence[Image]:
        images = self.ledger.images(job.id, first, PAGE)
        if len(images) < min(PAGE, job.total - first):
            raise UnknownJob("there is no such job any more")
        return images

    def cancel(self, job_id: str, owner: str) -> None:
        """End a job unless it has ended; what was captioned stays. Raises UnknownJob."""
        self.find(job_id, owner)
        self.ledger.cancel(job_id)
        try:
            self.blobs.remove(job_id)
        except BlobStoreUnavailable:
            log.warning("The images of job %s stay until it is forgotten", job_id)

    def tidy(self) -> None:
        """End the jobs that took too long, and forget, with their images, those that ended long ago."""
        for job_id in self.ledger.expire(self._seconds_kept):
            try:
                self.blobs.remove(job_id)
            except BlobStoreUnavailable:  # this one's turn comes again, the others' now
                log.warning("The images of job %s could not be removed", job_id)
            else:
                self.ledger.remove(job_id)


def _status(job: Job, counts: Counts) -> JobStatus:
    return JobStatus(
        id=job.id,
        state=QUEUED if job.state == RECEIVING else job.state,
        total=job.total,
        done=counts.done,
        failed=counts.failed,
        seconds_remaining=_estimate(job, sum(counts)),
        created_at=job.created_at,
        ended_at=job.ended_at,
        sequences=job.config.get("num_return_sequences") or 1,
    )


def _estimate(job: Job, finished: int) -> float | None:
    """At the pace so far. None while there is none."""
    if job.state not in (*ACTIVE, RECEIVING):
        return 0.0
    if not finished or job.started_at is None:
        return None
    return max(0.1, round((time.time() - job.started_at) / finished * (job.total - finished), 1))
