"""What clients ask of jobs: to take one, how it stands, what came of its images, to cancel it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from itertools import chain

from flaskapp.captioner import GenerationSettings
from flaskapp.errors import BlobStoreUnavailable, BrokerUnavailable, Unavailable, UnknownJob
from flaskapp.jobs.blobs import Blobs
from flaskapp.jobs.bundle import Bundle, Limits, NamedFile, unpack
from flaskapp.jobs.claims import ChunkId
from flaskapp.jobs.lease_renewer import LeaseRenewer
from flaskapp.jobs.ledger import Ledger
from flaskapp.jobs.queue import Queue
from flaskapp.jobs.status import JobStatus
from flaskapp.jobs.tables import ACTIVE, RECEIVING, Image, Job
from flaskapp.jobs.webhooks import Webhooks
from flaskapp.machine import usable_cores
from flaskapp.semaphore import WeightedSemaphore
from flaskapp.threads import Threads

log = logging.getLogger(__name__)

PAGE = 500  # rows that are read at once

# A job that is being taken has a chunk in memory, unpacked and packed again.
MEMORY = 2**28  # bytes


class Jobs:
    """The jobs of one database, blob store and queue."""

    def __init__(
        self,
        ledger: Ledger,
        blobs: Blobs,
        queue: Queue,
        lease_renewer: LeaseRenewer,
        webhooks: Webhooks,
        *,
        chunk_size: int,
        seconds_kept: int,
    ) -> None:
        self.ledger, self.blobs, self.queue = ledger, blobs, queue
        self.lease_renewer, self.webhooks = lease_renewer, webhooks
        self.on_wait: Callable[[], None] = lambda: None  # called when an unfinished job is submitted or read
        self._chunk_size = chunk_size
        self._seconds_kept = seconds_kept
        busy = "too many jobs arrive at once"
        self._openings = WeightedSemaphore(1, wait=10, busy=busy)
        self._turns = WeightedSemaphore(MEMORY, wait=10, busy=busy)
        self._threads = Threads(usable_cores())  # for the decompression of what was uploaded

    def start_threads(self) -> None:
        """Start the threads that a worker has beside the one that captions."""
        self.lease_renewer.start()
        self.webhooks.start()

    def submit(
        self,
        files: Sequence[NamedFile],
        limits: Limits,
        settings: GenerationSettings,
        owner: str,
        key: str | None,
        client: str = "",
        admit: Callable[[int], None] = lambda images: None,
        webhook: str | None = None,
        traceparent: str | None = None,
    ) -> JobStatus:
        """Take a job, or find the one that was made with the same key and content.

        First its rows and files, then the messages: the workers' lease renewers send those that are lost.
        `client` is what quotas and turns go by. `admit` is called with the number of images of a new job that is within
        these quotas, and may refuse it by raising an error. `webhook` is the URL that gets the status of the ended job.
        `traceparent` is the trace that the work for a new job belongs to.
        Raises UnreadableUpload, KeyReused, TooBusy, QuotaExceeded, DatabaseUnavailable, BlobStoreUnavailable,
        BrokerUnavailable.
        """
        with self._openings.take():
            bundle = self._threads.run(lambda: unpack(files, limits))
        with self._turns.take(bundle.largest(self._chunk_size)), self.queue.open() as send:
            config = asdict(settings)
            content = repr(config) if webhook is None else repr((config, webhook))
            fingerprint = self._threads.run(lambda: bundle.fingerprint(content))
            job = self.ledger.open(
                owner, key, fingerprint, config, len(bundle), bundle.size, client, admit, webhook, traceparent
            )
            if job.state == RECEIVING:
                with self._forgetting(job):
                    chunks = self._store(job.id, bundle)
                    if not self.ledger.accept(job.id, bundle.names, self._chunk_size):
                        self._remove_stored_again(job)
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

    def _remove_stored_again(self, job: Job) -> None:
        """Remove the images that no worker will read: another request stored them first, or the job has ended."""
        found = self.ledger.find(job.id, job.owner)
        if found is None or found[0].state not in ACTIVE:
            self.blobs.remove(job.id)
        else:
            for done in self.ledger.done_chunks(job.id):
                self.blobs.remove(job.id, done)

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
        return JobStatus.of(*found)

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

    def page(self, owner: str, client: str, first: int, count: int) -> tuple[list[JobStatus], int]:
        """Jobs of a client, the newest first, and how many there are in all."""
        found, total = self.ledger.page(owner, client, first, count)
        if any(job.state in ACTIVE for job, _ in found):
            self.on_wait()
        return [JobStatus.of(*each) for each in found], total

    def cancel(self, job_id: str, owner: str) -> None:
        """End a job unless it has ended; what was captioned stays. Raises UnknownJob."""
        self.find(job_id, owner)
        self.ledger.cancel(job_id)
        try:
            self.blobs.remove(job_id)
        except BlobStoreUnavailable:
            log.warning("The images of job %s stay until it is forgotten", job_id)

    def cancel_or_delete(self, job_id: str, owner: str) -> None:
        """Cancel a job, or delete one that has ended, with its results and images.

        Raises UnknownJob, and BlobStoreUnavailable if nothing was deleted.
        """
        if self.find(job_id, owner).has_ended:
            self._delete(job_id)
        else:
            self.cancel(job_id, owner)

    def tidy(self) -> None:
        """End the jobs that took too long, and delete those that ended long ago."""
        for job_id in self.ledger.expire(self._seconds_kept):
            try:
                self._delete(job_id)
            except BlobStoreUnavailable:  # the next call tries again
                log.warning("The images of job %s could not be removed", job_id)

    def _delete(self, job_id: str) -> None:
        self.blobs.remove(job_id)  # first: without the job's row, nothing would find images that are left
        self.ledger.remove(job_id)
