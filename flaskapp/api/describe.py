"""Caption uploaded images: the part that all views with captions share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import numpy as np
from flask import current_app

from flaskapp.api import image_quota
from flaskapp.api.application import current_request
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.captioner.generation import Caption
from flaskapp.captioner.service import check_shape
from flaskapp.errors import UnreadableImage
from flaskapp.image_quota import Admission
from flaskapp.images import EncodedImage
from flaskapp.serving import client_disconnect
from flaskapp.setting_values import OFF
from flaskapp.sized_iterable import SizedIterable

# Replaces an unreadable image in a batch, which must have the announced number of images.
SUBSTITUTE = np.full((32, 32, 3), 128, np.uint8)

ErrorContext = Callable[[int], AbstractContextManager[None]]


def describe(
    images: Sequence[EncodedImage], settings: GenerationSettings, error_context: ErrorContext
) -> list[list[Caption]]:
    """Return the captions of each image, the best first. Stop if the request's client disconnects.

    The images count for the client's quota, except on failure. Each one is decoded within `error_context(index)`, which
    names the field of an unreadable image. Raises the errors of `Captioner.describe`, and QuotaExceeded.
    """
    return prepare(images, settings, error_context)()


def prepare(
    images: Sequence[EncodedImage],
    settings: GenerationSettings,
    error_context: ErrorContext,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Callable[..., list[list[Caption]]]:
    """Return a function that does the work of `describe` later, outside the request.

    It takes `on_text`, as `Captioner.describe` does.
    """
    digests = [image.digest for image in images] if current_app.config["CAPTIONER_CACHE_MB"] else []
    return _prepare(images, settings, error_context, _admit(images, settings), is_cancelled, digests)


def describe_readable(
    images: Sequence[EncodedImage], settings: GenerationSettings
) -> list[list[Caption] | UnreadableImage]:
    """Caption the images as `describe` does, but return the error of an unreadable image, which does not count."""
    errors: dict[int, UnreadableImage] = {}

    @contextmanager
    def collect_error(index: int) -> Iterator[None]:
        try:
            yield
        except UnreadableImage as error:
            errors[index] = error

    admission = _admit(images, settings)
    described = _prepare(images, settings, collect_error, admission)()  # not cached: substitutes have captions too
    admission.give_back(len(errors))
    return [errors.get(index, captions) for index, captions in enumerate(described)]


def _admit(images: Sequence[EncodedImage], settings: GenerationSettings) -> Admission:
    if current_app.config["RATE_LIMIT_IMAGES"] != OFF:
        captioner.resolve(settings)  # invalid settings do not count
    return image_quota.admit(len(images))


def _prepare(
    images: Sequence[EncodedImage],
    settings: GenerationSettings,
    error_context: ErrorContext,
    admission: Admission,
    is_cancelled: Callable[[], bool] = lambda: False,
    digests: Sequence[str] = (),
) -> Callable[..., list[list[Caption]]]:
    request = current_request()
    has_disconnected = client_disconnect.watch(request.environ)

    def has_left() -> bool:
        return is_cancelled() or has_disconnected()

    decoded = SizedIterable(len(images), lambda: _decode_one_by_one(images, error_context, has_left))
    describe = partial(captioner.describe, decoded, settings, has_left, timings=request.timings, digests=digests)

    def run(**options: Any) -> list[list[Caption]]:
        with admission:
            return describe(**options)

    return run


def _decode_one_by_one(
    images: Sequence[EncodedImage], error_context: ErrorContext, has_left: Callable[[], bool]
) -> Iterator[np.ndarray]:
    """Yield the RGB pixels of one image at a time, to save memory. The model must be loaded: it sets `input_side`."""
    for index, image in enumerate(images):
        is_decoded = False
        with error_context(index), image.decoded(captioner.input_side, has_left=has_left) as picture:
            pixels = picture.flatten()
            check_shape(pixels)  # the captioner checks as well, but cannot name the image
            is_decoded = True
            yield pixels
        if not is_decoded:  # `error_context` suppressed the error; the substitute's captions are discarded
            yield SUBSTITUTE


def warning(*others: str) -> dict[str, str]:
    """Return the member `warning` of an answer: `others`, and a note if the embedded model replaces the default one."""
    sentences = [*others, *([captioner.note] if captioner.note else [])]
    return {"warning": "; ".join(sentences)} if sentences else {}
