"""Uploaded images -> their captions, for every view that captions."""

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

# Takes the place of an unreadable image in a batch: as many images come as were announced.
SUBSTITUTE = np.full((32, 32, 3), 128, np.uint8)

Place = Callable[[int], AbstractContextManager[None]]


def describe(images: Sequence[EncodedImage], settings: GenerationSettings, place: Place) -> list[list[Caption]]:
    """The captions of each image, the best first. The work is given up once the request's client has disconnected.

    The images count for the client's quota, unless this fails. Each is decoded within `place(index)`, which names the
    part of the request that an unreadable one came in. Raises what `Captioner.describe` does, or QuotaExceeded.
    """
    return prepare(images, settings, place)()


def prepare(
    images: Sequence[EncodedImage],
    settings: GenerationSettings,
    place: Place,
    is_given_up: Callable[[], bool] = lambda: False,
) -> Callable[..., list[list[Caption]]]:
    """`describe`, to be called later and without the request: with `on_text`, if need be, as `Captioner.describe`."""
    digests = [image.digest for image in images] if current_app.config["CAPTIONER_CACHE_MB"] else []
    return _prepare(images, settings, place, _admit(images, settings), is_given_up, digests)


def describe_readable(
    images: Sequence[EncodedImage], settings: GenerationSettings
) -> list[list[Caption] | UnreadableImage]:
    """As `describe`, with the error of an image that cannot be read in place of its captions. It does not count."""
    errors: dict[int, UnreadableImage] = {}

    @contextmanager
    def noting(index: int) -> Iterator[None]:
        try:
            yield
        except UnreadableImage as error:
            errors[index] = error

    admission = _admit(images, settings)
    described = _prepare(images, settings, noting, admission)()  # no cache: it would keep a substitute's captions
    admission.give_back(len(errors))
    return [errors.get(index, captions) for index, captions in enumerate(described)]


def _admit(images: Sequence[EncodedImage], settings: GenerationSettings) -> Admission:
    if current_app.config["RATE_LIMIT_IMAGES"] != OFF:
        captioner.resolve(settings)  # what is refused anyway does not count
    return image_quota.admit(len(images))


def _prepare(
    images: Sequence[EncodedImage],
    settings: GenerationSettings,
    place: Place,
    admission: Admission,
    is_given_up: Callable[[], bool] = lambda: False,
    digests: Sequence[str] = (),
) -> Callable[..., list[list[Caption]]]:
    request = current_request()
    has_disconnected = client_disconnect.watch(request.environ)

    def has_left() -> bool:
        return is_given_up() or has_disconnected()

    decoded = SizedIterable(len(images), lambda: _decode_one_by_one(images, place, has_left))
    describe = partial(captioner.describe, decoded, settings, has_left, timings=request.timings, digests=digests)

    def run(**options: Any) -> list[list[Caption]]:
        with admission:
            return describe(**options)

    return run


def _decode_one_by_one(
    images: Sequence[EncodedImage], place: Place, has_left: Callable[[], bool]
) -> Iterator[np.ndarray]:
    """Pixels in RGB. Of many images they do not lie in memory at once. Call it when the model is loaded."""
    for index, image in enumerate(images):
        is_decoded = False
        with place(index), image.decoded(captioner.input_side, has_left=has_left) as picture:
            pixels = picture.flatten()
            check_shape(pixels)  # the captioner does, too, but does not know which image of the request it is
            is_decoded = True
            yield pixels
        if not is_decoded:  # and `place` let that pass: the captions of its substitute are not used
            yield SUBSTITUTE


def warning(*others: str) -> dict[str, str]:
    """The member `warning` of an answer with captions: `others`, and that the embedded model substitutes, if so."""
    sentences = [*others, *([captioner.note] if captioner.note else [])]
    return {"warning": "; ".join(sentences)} if sentences else {}
