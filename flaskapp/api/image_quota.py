"""The quota of images over HTTP: a view that captions calls `admit`, which sees to the headers and to the 429."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from flask import Response, after_this_request, current_app

from flaskapp.api.protected import client
from flaskapp.image_quota import Admission, refusal

# Of all answers to admitted or refused images while RATE_LIMIT_IMAGES is on.
HEADERS = {
    "X-RateLimit-Limit": {"description": "Images of the quota, if there is one", "schema": {"type": "integer"}},
    "X-RateLimit-Remaining": {"description": "Images left of the quota", "schema": {"type": "integer"}},
    "X-RateLimit-Reset": {
        "description": "When the quota is whole again, in seconds since 1970",
        "schema": {"type": "integer"},
    },
}


def admit(images: int) -> Admission:
    """Count the images of this request for its client. Raises QuotaExceeded, and counts none, if these are too many.

    A view calls this once its input is valid, before the work, which it does in the block of the Admission.
    """
    admission: Admission = current_app.extensions["image_quota"].take(client(), images)
    if admission.balance is None:
        return admission

    @after_this_request
    def tell(response: Response) -> Response:
        assert admission.balance is not None
        limit, remaining, reset_at = admission.balance  # images may have been given back meanwhile
        response.headers["X-RateLimit-Limit"] = str(limit.amount)
        response.headers["X-RateLimit-Remaining"] = str(remaining)
        response.headers["X-RateLimit-Reset"] = str(math.ceil(reset_at))
        return response

    if not admission.is_admitted:
        raise refusal(images, admission.balance)
    return admission


@contextmanager
def admitting() -> Iterator[Callable[[int], None]]:
    """A function for `admit`, where the number of images is known only during the work.

    On an error the images are given back.
    """
    with ExitStack() as until_done:

        def take(images: int) -> None:
            until_done.enter_context(admit(images))

        yield take
