"""What clients do with jobs: submit, list, read the status and the results, cancel, delete."""

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

PAGE = 500  # rows in a query
MAX_CHUNK_BYTES = 2**28  # bytes of the chunks in memory: one of each job that is being submitted


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
        self._unpacking = WeightedSemaphore(1, wait=10, busy=busy)
        self._chunk_bytes = WeightedSemaphore(MAX_CHUNK_BYTES, wait=10, busy=busy)
        self._threads = Threads(usable_cores())  # for decompression

    def start_threads(self) -> None:
        """Start a worker's background threads."""
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
        """Create a job, or find the job with the same key and content.

        Stores rows and files first, then sends the messages: the lease renewers of the workers send lost ones again.
        `client` is the login or address that quotas and fairness count by. `admit` is called with the number of images
        of a new job that is within the quotas, and may raise an error to refuse it. `webhook` is the URL that gets the
        status of the ended job. `traceparent` is the trace that the work for a new job continues.
        Raises UnreadableUpload, KeyReused, TooBusy, QuotaExceeded, DatabaseUnavailable, BlobStoreUnavailable,
        BrokerUnavailable.
        """
        with self._unpacking.take():
            bundle = self._threads.run(lambda: unpack(files, limits))
        with self._chunk_bytes.take(bundle.largest_chunk(self._chunk_size)), self.queue.open() as send:
            config = asdict(settings)
            content = repr(config) if webhook is None else repr((config, webhook))
            fingerprint = self._threads.run(lambda: bundle.fingerprint(content))
            job = self.ledger.open(
                owner, key, fingerprint, config, len(bundle), bundle.size, client, admit, webhook, traceparent
            )
            if job.state == RECEIVING:
                with self._cleaning_up(job):
                    chunks = self._store(job.id, bundle)
                    if not self.ledger.accept(job.id, bundle.names, self._chunk_size):
                        self._remove_stale_images(job)
                try:
                    send(ChunkId(job.id, number) for number in range(chunks))
                except BrokerUnavailable:
                    log.warning("Some messages of job %s could not be sent; they are sent later", job.id)
        return self.find(job.id, owner)

    def _store(self, job_id: str, bundle: Bundle) -> int:
        """Store the images, and return the number of chunks."""
        number = 0
        for number, files in enumerate(self._threads.each(bundle.chunks(self._chunk_size))):
            first = number * self._chunk_size
            self.blobs.write(job_id, number, {first + place: file.data for place, file in enumerate(files)})
        return number + 1

    def _remove_stale_images(self, job: Job) -> None:
        """Remove images that no worker will read, because another request stored the job first or the job has ended."""
        found = self.ledger.find(job.id, job.owner)
        if found is None or found[0].state not in ACTIVE:
            self.blobs.remove(job.id)
        else:
            for done in self.ledger.done_chunks(job.id):
                self.blobs.remove(job.id, done)

    @contextmanager
    def _cleaning_up(self, job: Job) -> Iterator[None]:
        """Cancel and remove a job that could not be stored. With a key, keep it: a retry may complete it."""
        try:
            yield
        except Unavailable:
            if job.key is None:
                with suppress(Unavailable):
                    self.ledger.cancel(job.id)
                    self.blobs.remove(job.id)
            raise

    def find(self, job_id: str, owner: str) -> JobStatus:
        """Return the status of a job. Raises UnknownJob, also for a job of another owner."""
        found = self.ledger.find(job_id, owner)
        if found is None:
            raise UnknownJob("there is no such job")
        if found[0].state in ACTIVE:
            self.on_wait()
        return JobStatus.of(*found)

    def results(self, job: JobStatus, first: int, count: int) -> Sequence[Image]:
        """Return `count` images from number `first` on, in upload order. Beyond the last, there is no query."""
        return self.ledger.images(job.id, first, count) if first < job.total else []

    def all_results(self, job: JobStatus) -> Iterator[Image]:
        """Iterate over all images. Reads the first page at once, so that the caller can still answer with an error.

        Raises UnknownJob, also during the iteration, if the job was deleted.
        """
        first, *others = (partial(self._page, job, first) for first in range(0, job.total, PAGE))
        return chain(first(), chain.from_iterable(read() for read in others))

    def _page(self, job: JobStatus, first: int) -> Sequence[Image]:
        images = self.ledger.images(job.id, first, PAGE)
        if len(images) < min(PAGE, job.total - first):
            raise UnknownJob("there is no such job any more")
        return images

    def page(self, owner: str, client: str, first: int, count: int) -> tuple[list[JobStatus], int]:
        """Return `count` jobs of a client from number `first` on, newest first, and the number of all its jobs."""
        found, total = self.ledger.page(owner, client, first, count)
        if any(job.state in ACTIVE for job, _ in found):
            self.on_wait()
        return [JobStatus.of(*each) for each in found], total

    def cancel(self, job_id: str, owner: str) -> None:
        """End a job unless it has ended. Keeps its captions. Raises UnknownJob."""
        self.find(job_id, owner)
        self.ledger.cancel(job_id)
        try:
            self.blobs.remove(job_id)
        except BlobStoreUnavailable:
            log.warning("The images of job %s could not be removed; they are removed with the job", job_id)

    def cancel_or_delete(self, job_id: str, owner: str) -> None:
        """Cancel a job that runs. Delete a job that has ended, with its results and images.

        Raises UnknownJob, and BlobStoreUnavailable if nothing was deleted.
        """
        if self.find(job_id, owner).has_ended:
            self._delete(job_id)
        else:
            self.cancel(job_id, owner)

    def tidy(self) -> None:
        """Expire jobs that took too long, and delete jobs that ended long ago."""
        for job_id in self.ledger.expire(self._seconds_kept):
            try:
                self._delete(job_id)
            except BlobStoreUnavailable:  # the next call retries
                log.warning("The images of job %s could not be removed", job_id)

    def _delete(self, job_id: str) -> None:
        self.blobs.remove(job_id)  # first: without the job's row, images that are left would never be found
        self.ledger.remove(job_id)
