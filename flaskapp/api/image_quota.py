"""The quota of images over HTTP: `admit` counts a request's images, sets the rate limit headers, and raises the 429."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from flask import Response, after_this_request, current_app

from flaskapp.api.protected import client
from flaskapp.image_quota import Admission, refusal

# Sent with each answer to a request with images, if RATE_LIMIT_IMAGES is set.
HEADERS = {
    "X-RateLimit-Limit": {"description": "Images of the quota, if there is one", "schema": {"type": "integer"}},
    "X-RateLimit-Remaining": {"description": "Images left of the quota", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {
        "description": "When the whole quota is available again, in seconds since 1970",
        "schema": {"type": "integer"},
    },
}


def admit(images: int) -> Admission:
    """Count the images of this request for its client. Raise QuotaExceeded, and count none, if they exceed the quota.

    Call it when the input is valid, and do the work in the block of the Admission.
    """
    admission: Admission = current_app.extensions["image_quota"].take(client(), images)
    if admission.balance is None:
        return admission

    @after_this_request
    def add_headers(response: Response) -> Response:
        assert admission.balance is not None
        limit, remaining, reset_at = admission.balance  # after images were given back
        response.headers["X-RateLimit-Limit"] = str(limit.amount)
        response.headers["X-RateLimit-Remaining"] = str(remaining)
        response.headers["X-RateLimit-Reset"] = str(math.ceil(reset_at))
        return response

    if not admission.is_admitted:
        raise refusal(images, admission.balance)
    return admission


@contextmanager
def admit_during() -> Iterator[Callable[[int], None]]:
    """Yield an `admit` for a block that learns the number of images during its work.

    If the block raises an error, the images are given back.
    """
    with ExitStack() as stack:

        def admit_now(images: int) -> None:
            stack.enter_context(admit(images))

        yield admit_now
