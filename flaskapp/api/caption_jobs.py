"""Caption many images later: a job is taken at once, and asked for until it is done."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import marshmallow as ma
from flask import Response, current_app, url_for
from marshmallow import validate

from flaskapp.api import image_quota
from flaskapp.api.blueprint import Blueprint
from flaskapp.api.caption import IMAGE_TYPES, CaptionConfig
from flaskapp.api.fields import DecimalInteger, Flag, JobFiles, JobId, JSONPart
from flaskapp.api.protected import ProtectedBlueprint, client, username
from flaskapp.api.unprocessable import refusing
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.jobs import Jobs, JobStatus, Limits, NamedFile
from flaskapp.jobs.tables import MAX_KEY, STATES, Image

EXAMPLE_ID = "0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55"
ID = {"description": "The job's id", "examples": [EXAMPLE_ID]}
STREAMS = {"jsonl": "application/jsonl", "csv": "text/csv"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would calculate
PAGE = {"description": "Which page, from 1", "examples": [1]}
PAGE_SIZE = {"description": "Images of a page", "examples": [100]}


class JobConfig(CaptionConfig):
    """The settings of `/caption/`, without scores."""

    scores = Flag(
        validate=validate.Equal(False, error="Jobs have no scores; /caption/ has them."),
        metadata={"description": "Jobs have no scores", "examples": [False]},
    )


class JobForm(ma.Schema):
    data = JobFiles(required=True, metadata={"description": "Image files, or one zip of them. The content decides"})
    config = JSONPart(JobConfig, load_default=GenerationSettings)


class JobHeaders(ma.Schema):
    key = ma.fields.String(
        data_key="Idempotency-Key",
        validate=[
            validate.Length(1, MAX_KEY),
            validate.Regexp("^[!-~]+$", error="Not ASCII without spaces."),
        ],
        metadata={
            "description": "Any text that nobody guesses: with the same one, the same content is the same job",
            "examples": ["9f1c7a52-holiday-pictures"],
        },
    )


class JobPath(ma.Schema):
    job_id = JobId(required=True, metadata=ID)


class ResultsQuery(ma.Schema):
    page = DecimalInteger(load_default=1, validate=validate.Range(1, 10**9), metadata=PAGE)
    page_size = DecimalInteger(load_default=100, validate=validate.Range(1, 1000), metadata=PAGE_SIZE)
    format = ma.fields.String(
        validate=validate.OneOf(list(STREAMS)),
        metadata={"description": "All results at once, in this format instead of pages", "examples": ["jsonl"]},
    )


class Job(ma.Schema):
    id = ma.fields.String(required=True, metadata=ID)
    state = ma.fields.String(
        required=True,
        validate=validate.OneOf(STATES),
        metadata={"description": "`expired`: it took too long", "examples": ["running"]},
    )
    total = ma.fields.Integer(required=True, metadata={"description": "Images of the job", "examples": [2000]})
    done = ma.fields.Integer(required=True, metadata={"description": "Images with captions", "examples": [480]})
    failed = ma.fields.Integer(required=True, metadata={"description": "Images with an error", "examples": [1]})
    seconds_remaining = ma.fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "At the pace so far; null while that is not known", "examples": [63.5]},
    )
    created_at = ma.fields.DateTime(
        required=True, metadata={"description": "When it was taken", "examples": ["2026-11-24T12:00:00+00:00"]}
    )
    ended_at = ma.fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When it ended, done or not", "examples": ["2026-11-24T12:02:07+00:00"]},
    )


class JobResult(ma.Schema):
    """`captions`, or `error`; neither of them yet, as long as the job runs."""

    index = ma.fields.Integer(required=True, metadata={"description": "Place in the upload, from 0", "examples": [0]})
    input = ma.fields.String(required=True, metadata={"description": "The file's name", "examples": ["my_cat.jpg"]})
    captions = ma.fields.List(
        ma.fields.String(),
        metadata={"description": "The best first", "examples": [["a small red star on a grey background"]]},
    )
    error = ma.fields.String(
        metadata={"description": "Why it has no captions", "examples": ["the png image is broken or cut short"]}
    )


LOCATION = {"Location": {"description": "Where the job can be asked for", "schema": {"type": "string"}}}
PAGINATION = {
    "X-Pagination": {
        "description": "JSON: `total`, `total_pages`, `first_page`, `last_page`, `page`, `previous_page`, `next_page`",
        "schema": {"type": "string"},
    }
}
FORM = {"multipart/form-data": {"encoding": {"config": {"contentType": "application/json"}}}}
FORM["multipart/form-data"]["encoding"]["data"] = {"contentType": f"{IMAGE_TYPES}, application/zip"}

blp = ProtectedBlueprint("caption_jobs", __name__, description="Captions for many images, later")


@blp.route("/caption_jobs/", methods=["POST"])
@blp.doc(requestBody={"content": FORM})
@blp.arguments(JobHeaders, location="headers", as_kwargs=True)
@blp.arguments(JobForm, location="multipart", as_kwargs=True)
@blp.response(202, Job, headers=LOCATION | image_quota.HEADERS)
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
def submit(data: list[NamedFile], config: GenerationSettings, key: str | None = None) -> Any:
    """Have many images captioned later

    An image that cannot be captioned fails alone, in the results. With an `Idempotency-Key` a repeated request finds
    the job that it made; with other content it is refused (409).
    """
    with refusing("config"):
        sequences = captioner.resolve(config).num_return_sequences
    settings = replace(config, num_return_sequences=sequences)  # the columns of the results as CSV
    with refusing("data"):
        job = _jobs().submit(data, _limits(), settings, username(), key, client(), image_quota.admit)
    return _shown(job), {"Location": url_for("caption_jobs.find", job_id=job.id)}


@blp.route("/caption_jobs/<job_id>")
@blp.arguments(JobPath, location="path", as_kwargs=True)
@blp.response(200, Job)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def find(job_id: str) -> dict[str, object]:
    """Tell how a job stands"""
    return _shown(_jobs().find(job_id, username()))


@blp.route("/caption_jobs/<job_id>", methods=["DELETE"])
@blp.arguments(JobPath, location="path", as_kwargs=True)
@blp.response(204)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def cancel(job_id: str) -> None:
    """Cancel a job

    What was captioned stays, and a job that has ended stays as it is.
    """
    _jobs().cancel(job_id, username())


@blp.route("/caption_jobs/<job_id>/results")
@blp.arguments(JobPath, location="path", as_kwargs=True)
@blp.arguments(ResultsQuery, location="query", as_kwargs=True)
@blp.response(200, JobResult(many=True), headers=PAGINATION)
@blp.alt_response(200, schema={"type": "string"}, content_type="application/jsonl")
@blp.alt_response(200, schema={"type": "string"}, content_type="text/csv")
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def results(job_id: str, page: int, page_size: int, format: str | None = None) -> Any:
    """Page through the results of a job in upload order, or stream them all

    Images that are not captioned yet have no captions.
    """
    job = _jobs().find(job_id, username())
    if format:
        return Response(_stream(format, job), mimetype=STREAMS[format])
    images = _jobs().results(job, (page - 1) * page_size, page_size)
    return [_result(image) for image in images], _pagination(page, page_size, job.total)


def _jobs() -> Jobs:
    jobs: Jobs = current_app.extensions["jobs"]
    return jobs


def _limits() -> Limits:
    return Limits(current_app.config["MAX_JOB_IMAGES"], current_app.config["MAX_JOB_MB"] * 2**20)


def _shown(job: JobStatus) -> dict[str, object]:
    times = {"created_at": _time(job.created_at), "ended_at": _time(job.ended_at)}
    return vars(job) | times


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _result(image: Image) -> dict[str, object]:
    shown: dict[str, object] = {"index": image.number, "input": image.input}
    if image.captions is not None:
        shown["captions"] = image.captions
    elif image.error is not None:
        shown["error"] = image.error
    return shown


def _pagination(page: int, page_size: int, total: int) -> Mapping[str, str]:
    return {"X-Pagination": json.dumps(Blueprint._make_pagination_metadata(page, page_size, total))}


def _stream(format: str, job: JobStatus) -> Iterator[str]:
    images = _jobs().all_results(job)
    return _as_csv(images, job.sequences) if format == "csv" else (json.dumps(_result(each)) + "\n" for each in images)


def _as_csv(images: Iterator[Image], sequences: int) -> Iterator[str]:
    """A row an image. A cell that a spreadsheet would take for a formula has an apostrophe before it."""
    yield _row(["index", "input", "error", "caption", *(f"caption_{number + 1}" for number in range(1, sequences))])
    for image in images:
        cells = [image.input, image.error or "", *(image.captions or [""] * sequences)]
        yield _row([str(image.number), *("'" + cell if cell.startswith(FORMULA) else cell for cell in cells)])


def _row(cells: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
