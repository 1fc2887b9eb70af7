"""What a worker does with a chunk: claim it, caption its images, save what became of each."""

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

TOGETHER = 2  # attempts at a chunk as a whole; a worker that died in both may have died of one of its images
ALONE = 3  # attempts at an image by itself
LOST = 5  # attempts at a chunk whose images cannot be found, or that nothing else is known to help
SAVE_AGAIN = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between tries: captions are dear

# One image's, and no other's. CaptionFailed is Unavailable as well, and the only one that will not pass.
REASONS = (UnreadableImage, UnsupportedImageFormat, InvalidGeneration, CaptionFailed, DeadlineExceeded)

Saved = TypeVar("Saved")


class Work:
    """The body of the task. It may come twice, late, or to several workers: a chunk is done once."""

    def __init__(
        self, ledger: Ledger, blobs: Blobs, lease_renewer: LeaseRenewer, captioner: Captioner, max_megapixels: int
    ) -> None:
        self._ledger, self._blobs, self._lease_renewer, self._captioner = ledger, blobs, lease_renewer, captioner
        self._max_megapixels = max_megapixels

    def caption_chunk(self, job_id: str, number: int) -> None:
        """Caption this chunk, or the next one in fair order. Raises DatabaseUnavailable: retry then."""
        claim = self._ledger.claim_next(ChunkId(job_id, number))
        if claim is None:
            return
        job_id, number = claim.chunk
        with trace_context.within(claim.traceparent), self._lease_renewer.holding(claim) as is_gone:
            try:
                self._caption(claim, is_gone)
                log.info("Chunk %d of job %s is done", number, job_id)
                self._forget(claim)
            except ClientLeft:
                log.info("Chunk %d of job %s was cancelled, or is another worker's", number, job_id)
            except FileNotFoundError:
                self._try_again(claim, "the image is not stored any more")
            except DatabaseUnavailable:
                raise
            except EngineLost:  # perhaps of one of these images
                log.exception("The captioner stopped at chunk %d of job %s", number, job_id)
                self._ledger.give_back(claim, is_attempt=True)
            except Unavailable as error:
                log.warning("Chunk %d of job %s is tried again later: %s", number, job_id, error)
                self._ledger.give_back(claim, is_attempt=False)
            except Exception:  # or the image would be tried again and again
                log.exception("Chunk %d of job %s failed", number, job_id)
                self._try_again(claim, "the image could not be captioned")

    def _try_again(self, claim: Claim, reason: str) -> None:
        """Later, or never where it was tried often enough."""
        if claim.attempts < LOST:
            self._ledger.give_back(claim, is_attempt=True)
        else:
            _patiently(lambda: self._ledger.save(claim, dict.fromkeys(claim.images, Outcome(error=reason))))
            self._forget(claim)

    def _forget(self, claim: Claim) -> None:
        """The images of a chunk that is done take no room in the store; what stays is removed with the job."""
        try:
            self._blobs.remove(*claim.chunk)
        except BlobStoreUnavailable as error:
            log.warning("The images of chunk %d of job %s stay: %s", claim.chunk.number, claim.chunk.job_id, error)

    def _caption(self, claim: Claim, is_gone: Callable[[], bool]) -> None:
        settings = GenerationSettings(**claim.config)
        images = self._blobs.read(*claim.chunk, claim.images)
        if claim.attempts > TOGETHER:
            self._caption_alone(claim, images, settings, is_gone)
        else:
            self._caption_together(claim, images, settings, is_gone)

    def _caption_together(
        self, claim: Claim, files: Mapping[int, bytes], settings: GenerationSettings, is_gone: Callable[[], bool]
    ) -> None:
        """All in one batch. What can be told of an image by its header is; if another one fails, each is by itself."""
        outcomes, images = {}, {}
        for number, data in files.items():
            try:
                images[number] = EncodedImage(data, self._max_megapixels)
            except REASONS as error:
                outcomes[number] = Outcome(error=str(error))
        try:
            captions = self._run(list(images.values()), settings, is_gone)
        except REASONS:
            self._save(claim, outcomes)
            self._caption_alone(claim, {number: files[number] for number in images}, settings, is_gone)
            return
        outcomes |= {number: Outcome(captions=each) for number, each in zip(images, captions, strict=True)}
        self._save(claim, outcomes)

    def _caption_alone(
        self, claim: Claim, files: Mapping[int, bytes], settings: GenerationSettings, is_gone: Callable[[], bool]
    ) -> None:
        """One after the other, each attempt counted before it is made: the worker may die of it."""
        for number, data in files.items():
            attempts = self._ledger.try_alone(claim, number)
            if attempts is None:
                raise ClientLeft("the claim is gone")
            if attempts > ALONE:
                self._save(claim, {number: Outcome(error=f"the worker died of it {ALONE} times")})
                continue
            try:
                self._save(claim, {number: self._caption_one(data, settings, is_gone)})
            except EngineLost:
                raise
            except Exception:  # whatever it was, the worker did not die of it
                _patiently(partial(self._ledger.take_back, claim, number))
                raise

    def _caption_one(self, data: bytes, settings: GenerationSettings, is_gone: Callable[[], bool]) -> Outcome:
        try:
            (captions,) = self._run([EncodedImage(data, self._max_megapixels)], settings, is_gone)
            return Outcome(captions=captions)
        except REASONS as error:
            return Outcome(error=str(error))

    def _run(
        self, images: Sequence[EncodedImage], settings: GenerationSettings, is_gone: Callable[[], bool]
    ) -> list[list[str]]:
        try:
            counted = SizedIterable(len(images), lambda: self._decode(images, is_gone))
            return self._captioner.caption(counted, settings, is_gone, deadline=math.inf)
        except FlaskappError:
            raise
        except Exception as error:
            log.exception("Images could not be captioned")
            raise CaptionFailed("the image could not be captioned") from error

    def _decode(self, images: Sequence[EncodedImage], is_gone: Callable[[], bool]) -> Iterator[np.ndarray]:
        for image in images:
            with image.decoded(self._captioner.input_side, has_left=is_gone) as picture:
                yield picture.flatten()

    def _save(self, claim: Claim, outcomes: Mapping[int, Outcome]) -> None:
        if not _patiently(lambda: self._ledger.save(claim, outcomes)):
            raise ClientLeft("the claim is gone")


def _patiently(save: Callable[[], Saved]) -> Saved:
    for seconds in SAVE_AGAIN:
        try:
            return save()
        except DatabaseUnavailable:
            time.sleep(seconds)
    return save()
