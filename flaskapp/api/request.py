"""The request class of the application."""

import io
from typing import IO, Any

import flask

from flaskapp import timings
from flaskapp.api.forms import FormParser


class Request(flask.Request):
    """Has timings, and keeps uploaded files in memory, where their body already is: a full disk breaks no upload."""

    form_data_parser_class = FormParser

    def __init__(self, environ: dict[str, Any], populate_request: bool = True, shallow: bool = False) -> None:
        super().__init__(environ, populate_request, shallow)
        self.timings = timings.begin(environ)

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        return io.BytesIO()
