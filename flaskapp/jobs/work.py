"""The work on a chunk: claim it, caption its images, save their captions or errors."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from flaskapp import trace_context
from flaskapp.captioner import Captioner, GenerationSettings
from flaskapp.errors import (
    BlobStoreUnavailable,
    CaptionFailed,
    ClientLeft,
    DatabaseUnavailable,
    DeadlineExceeded,
    EngineLost,
    FlaskappError,
    InvalidGeneration,
    Unavailable,
    UnreadableImage,
    UnsupportedImageFormat,
)
from flaskapp.images import EncodedImage
from flaskapp.jobs.blobs import Blobs
from flaskapp.jobs.claims import ChunkId, Claim, Outcome
from flaskapp.jobs.lease_renewer import LeaseRenewer
from flaskapp.jobs.ledger import Ledger
from flaskapp.sized_iterable import SizedIterable

log = logging.getLogger(__name__)

MAX_BATCH_ATTEMPTS = 2  # attempts at a chunk as one batch: after that, one of its images may be what kills workers
MAX_IMAGE_ATTEMPTS = 3  # attempts at an image alone
MAX_ATTEMPTS = 5  # attempts at a chunk whose images are missing, or that fails for an unknown reason
SAVE_RETRY_DELAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds; captions are expensive to make again

# Errors of a single image. CaptionFailed is Unavailable, too, but the only one for which a retry does not help.
IMAGE_ERRORS = (UnreadableImage, UnsupportedImageFormat, InvalidGeneration, CaptionFailed, DeadlineExceeded)

Saved = TypeVar("Saved")


class Work:
    """The body of the task. A message may arrive twice, late, or at several workers; each chunk is done once."""

    def __init__(
        self, ledger: Ledger, blobs: Blobs, lease_renewer: LeaseRenewer, captioner: Captioner, max_megapixels: int
    ) -> None:
        self._ledger, self._blobs, self._lease_renewer, self._captioner = ledger, blobs, lease_renewer, captioner
        self._max_megapixels = max_megapixels

    def caption_chunk(self, job_id: str, number: int) -> None:
        """Caption the next chunk in fair order, often this one. Raises DatabaseUnavailable: the caller retries."""
        claim = self._ledger.claim_next(ChunkId(job_id, number))
        if claim is None:
            return
        job_id, number = claim.chunk
        with trace_context.within(claim.traceparent), self._lease_renewer.holding(claim) as is_lost:
            try:
                self._caption(claim, is_lost)
                log.info("Chunk %d of job %s is done", number, job_id)
                self._remove_images(claim)
            except ClientLeft:
                log.info("Chunk %d of job %s was cancelled or claimed by another worker", number, job_id)
            except FileNotFoundError:
                self._retry_or_fail(claim, "the image is not stored any more")
            except DatabaseUnavailable:
                raise
            except EngineLost:  # one of these images may have killed it
                log.exception("The captioner stopped at chunk %d of job %s", number, job_id)
                self._ledger.release(claim, is_attempt=True)
            except Unavailable as error:
                log.warning("Chunk %d of job %s is tried again later: %s", number, job_id, error)
                self._ledger.release(claim, is_attempt=False)
            except Exception:  # without a limit, the chunk would be tried forever
                log.exception("Chunk %d of job %s failed", number, job_id)
                self._retry_or_fail(claim, "the image could not be captioned")

    def _retry_or_fail(self, claim: Claim, reason: str) -> None:
        """Release the claim for a retry. After MAX_ATTEMPTS, save `reason` as the error of each image."""
        if claim.attempts < MAX_ATTEMPTS:
            self._ledger.release(claim, is_attempt=True)
        else:
            _with_retries(lambda: self._ledger.save(claim, dict.fromkeys(claim.images, Outcome(error=reason))))
            self._remove_images(claim)

    def _remove_images(self, claim: Claim) -> None:
        """Remove the images of a completed chunk. If that fails, they are removed with the job."""
        job_id, number = claim.chunk
        try:
            self._blobs.remove(job_id, number)
        except BlobStoreUnavailable as error:
            log.warning("The images of chunk %d of job %s could not be removed: %s", number, job_id, error)

    def _caption(self, claim: Claim, is_lost: Callable[[], bool]) -> None:
        settings = GenerationSettings(**claim.config)
        images = self._blobs.read(*claim.chunk, claim.images)
        if claim.attempts > MAX_BATCH_ATTEMPTS:
            self._caption_one_by_one(claim, images, settings, is_lost)
        else:
            self._caption_batch(claim, images, settings, is_lost)

    def _caption_batch(
        self, claim: Claim, files: Mapping[int, bytes], settings: GenerationSettings, is_lost: Callable[[], bool]
    ) -> None:
        """Caption in one batch all images with a valid header. If the batch fails, caption one by one."""
        outcomes, images = {}, {}
        for number, data in files.items():
            try:
                images[number] = EncodedImage(data, self._max_megapixels)
            except IMAGE_ERRORS as error:
                outcomes[number] = Outcome(error=str(error))
        try:
            captions = self._run(list(images.values()), settings, is_lost)
        except IMAGE_ERRORS:
            self._save(claim, outcomes)
            self._caption_one_by_one(claim, {number: files[number] for number in images}, settings, is_lost)
            return
        outcomes |= {number: Outcome(captions=each) for number, each in zip(images, captions, strict=True)}
        self._save(claim, outcomes)

    def _caption_one_by_one(
        self, claim: Claim, files: Mapping[int, bytes], settings: GenerationSettings, is_lost: Callable[[], bool]
    ) -> None:
        """Caption one image after the other. Each attempt is counted first, because the image may kill the worker."""
        for number, data in files.items():
            attempts = self._ledger.count_attempt(claim, number)
            if attempts is None:
                raise ClientLeft("the claim was lost")
            if attempts > MAX_IMAGE_ATTEMPTS:
                self._save(claim, {number: Outcome(error=f"the worker died of it {MAX_IMAGE_ATTEMPTS} times")})
                continue
            try:
                self._save(claim, {number: self._caption_one(data, settings, is_lost)})
            except EngineLost:
                raise
            except Exception:  # the worker survived
                _with_retries(partial(self._ledger.refund_attempt, claim, number))
                raise

    def _caption_one(self, data: bytes, settings: GenerationSettings, is_lost: Callable[[], bool]) -> Outcome:
        try:
            (captions,) = self._run([EncodedImage(data, self._max_megapixels)], settings, is_lost)
            return Outcome(captions=captions)
        except IMAGE_ERRORS as error:
            return Outcome(error=str(error))

    def _run(
        self, images: Sequence[EncodedImage], settings: GenerationSettings, is_lost: Callable[[], bool]
    ) -> list[list[str]]:
        try:
            pixels = SizedIterable(len(images), lambda: self._decode(images, is_lost))
            return self._captioner.caption(pixels, settings, is_lost, deadline=math.inf)
        except FlaskappError:
            raise
        except Exception as error:
            log.exception("Images could not be captioned")
            raise CaptionFailed("the image could not be captioned") from error

    def _decode(self, images: Sequence[EncodedImage], is_lost: Callable[[], bool]) -> Iterator[np.ndarray]:
        for image in images:
            with image.decoded(self._captioner.input_side, has_left=is_lost) as picture:
                yield picture.flatten()

    def _save(self, claim: Claim, outcomes: Mapping[int, Outcome]) -> None:
        if not _with_retries(lambda: self._ledger.save(claim, outcomes)):
            raise ClientLeft("the claim was lost")


def _with_retries(save: Callable[[], Saved]) -> Saved:
    """Retry while the database is unavailable, up to the sum of SAVE_RETRY_DELAYS."""
    for seconds in SAVE_RETRY_DELAYS:
        try:
            return save()
        except DatabaseUnavailable:
            time.sleep(seconds)
    return save()
