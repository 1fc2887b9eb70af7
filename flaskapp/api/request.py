"""The request class of the application."""

import io
from typing import IO

import flask


class Request(flask.Request):
    """Keeps uploaded files in memory, where the body that they came in already is: a full disk breaks no upload."""

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()
