"""422 for what only the work itself finds wrong, in the shape that validation gives to the rest."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from flask_smorest import abort

from flaskapp.errors import InvalidGeneration, UnreadableImage, UnreadableUpload


def sentence(error: Exception) -> str:
    """The text of an error as the message of a field."""
    text = str(error)
    return text[:1].upper() + text[1:].rstrip(".") + "."


@contextmanager
def refusing(*where: str | int, location: str = "multipart", beside: Collection[str] = ()) -> Iterator[None]:
    """Answer 422 to what turns out to be wrong only when it is used, and name the part of the request that it is in.

    Generation settings are in the part `where`, but for those that the request has `beside` it.
    """
    try:
        yield
    except (UnreadableImage, UnreadableUpload, InvalidGeneration) as error:
        path: Sequence[str | int] = where
        if isinstance(error, InvalidGeneration):
            path = [error.field] if error.field in beside else [*where, error.field]
        errors: Any = [sentence(error)]
        for name in reversed(path):
            errors = {name: errors}
        abort(HTTPStatus.UNPROCESSABLE_ENTITY, errors={location: errors})
