"""The results of a job: pages of JSON, or a stream of CSV or JSONL."""

import csv
import io
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from flask import Response

from flaskapp.api.caption_jobs.resource import PAGINATION, blp, jobs, pagination
from flaskapp.api.caption_jobs.schemas import STREAMS, JobPath, JobResult, ResultsQuery
from flaskapp.api.protected import username
from flaskapp.jobs import JobStatus
from flaskapp.jobs.tables import Image

FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run such a cell
BYTE_ORDER_MARK = "\ufeff"
DISPOSITION = {
    "Content-Disposition": {
        "description": "With `download`: the file's name",
        "schema": {"type": "string"},
        "example": 'attachment; filename="captions-0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55.csv"',
    }
}


@blp.route("/caption_jobs/<job_id>/results")
@blp.arguments(JobPath, location="path", as_kwargs=True)
@blp.arguments(ResultsQuery, location="query", as_kwargs=True)
@blp.response(200, JobResult(many=True), headers=PAGINATION | DISPOSITION)
@blp.alt_response(200, schema={"type": "string"}, content_type="application/jsonl")
@blp.alt_response(200, schema={"type": "string"}, content_type="text/csv")
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def results(job_id: str, page: int, page_size: int, bom: bool, download: bool, format: str | None = None) -> Any:
    """Page through the results of a job in upload order, or stream them all

    Images that are not captioned yet have neither `captions` nor `error`.
    """
    job = jobs().find(job_id, username())
    if format:
        headers = {"Content-Disposition": f'attachment; filename="captions-{job.id}.{format}"'} if download else {}
        return Response(_stream(format, job, bom), mimetype=STREAMS[format], headers=headers)
    images = jobs().results(job, (page - 1) * page_size, page_size)
    return [_result(image) for image in images], pagination(page, page_size, job.total)


def _result(image: Image) -> dict[str, object]:
    shown: dict[str, object] = {"index": image.number, "input": image.input}
    if image.captions is not None:
        shown["captions"] = image.captions
    elif image.error is not None:
        shown["error"] = image.error
    return shown


def _stream(format: str, job: JobStatus, bom: bool) -> Iterator[str]:
    images = jobs().all_results(job)
    if format == "csv":
        return _as_csv(images, job.sequences, BYTE_ORDER_MARK if bom else "")
    return (json.dumps(_result(each)) + "\n" for each in images)


def _as_csv(images: Iterator[Image], sequences: int, mark: str) -> Iterator[str]:
    """Yield one row for each image. An apostrophe before a cell keeps a spreadsheet from running it as a formula."""
    columns = ["index", "input", "error", "caption", *(f"caption_{number + 1}" for number in range(1, sequences))]
    yield mark + _row(columns)
    for image in images:
        cells = [image.input, image.error or "", *(image.captions or [""] * sequences)]
        yield _row([str(image.number), *("'" + cell if cell.startswith(FORMULA_PREFIXES) else cell for cell in cells)])


def _row(cells: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
