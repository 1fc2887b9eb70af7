"""Schemas of the requests and the responses of caption jobs."""

from typing import Any

import marshmallow as ma
from flask import current_app
from marshmallow import ValidationError, validate

from flaskapp.api.caption import CaptionConfig
from flaskapp.api.fields import Config, DecimalInteger, Flag, FormFlag, JobFiles, JobId, JSONPart, Text
from flaskapp.captioner import GenerationSettings
from flaskapp.errors import NotFetched
from flaskapp.fetch import parse_url
from flaskapp.jobs.tables import MAX_KEY, MAX_WEBHOOK, STATES

EXAMPLE_ID = "0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55"
ID = {"description": "The job's id", "examples": [EXAMPLE_ID]}
STREAMS = {"jsonl": "application/jsonl", "csv": "text/csv"}
MAX_PAGE = 10**9
PAGE = {"description": "Number of the page, from 1", "examples": [1]}


class JobConfig(CaptionConfig):
    """The settings of `/caption/`, without scores."""

    scores = Flag(
        validate=validate.Equal(False, error="Jobs have no scores; /caption/ has them."),
        metadata={"description": "Jobs have no scores", "examples": [False]},
    )


class WebhookURL(Text):
    """An https URL of one of the WEBHOOK_HOSTS. An empty text, which forms send, is none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, attr, data, **kwargs)
        if url == "":
            return url
        hosts = current_app.config["WEBHOOK_HOSTS"]
        if not hosts:
            raise ValidationError("This server sends no webhooks: FLASKAPP_WEBHOOK_HOSTS is empty.")
        try:
            parse_url(url, hosts)
        except NotFetched as error:
            raise ValidationError(
                "Not an https URL, without a login, of a host that this server sends webhooks to."
            ) from error
        return url

    @staticmethod
    def keywords(config: Config) -> dict[str, Any]:
        return {"pattern": "^$|^https://"} if config["WEBHOOK_HOSTS"] else {"enum": [""]}


class JobForm(ma.Schema):
    data = JobFiles(required=True, metadata={"description": "Image files, or one zip of them. The content decides"})
    config = JSONPart(JobConfig, load_default=GenerationSettings)
    webhook = WebhookURL(
        validate=validate.Length(max=MAX_WEBHOOK),
        metadata={
            "description": "An https URL of a host that the server allows, such as `https://hooks.example.com/done`. "
            "The server posts the job's status to it when the job has ended",
            "examples": [""],  # Swagger UI sends it
        },
    )


class JobHeaders(ma.Schema):
    key = ma.fields.String(
        data_key="Idempotency-Key",
        validate=[
            validate.Length(1, MAX_KEY),
            validate.Regexp("^[!-~]+$", error="Not ASCII without spaces."),
        ],
        metadata={
            "description": "A random text. A retry with the same key and content returns the same job",
            "examples": ["9f1c7a52-holiday-pictures"],
        },
    )


class JobPath(ma.Schema):
    job_id = JobId(required=True, metadata=ID)


class JobsQuery(ma.Schema):
    page = DecimalInteger(load_default=1, validate=validate.Range(1, MAX_PAGE), metadata=PAGE)
    page_size = DecimalInteger(
        load_default=20,
        validate=validate.Range(1, 100),
        metadata={"description": "Jobs on a page", "examples": [20]},
    )


class DeleteQuery(ma.Schema):
    keep_results = FormFlag(
        load_default=False,
        metadata={
            "description": "`true`: cancel a running job, but delete no ended one",
            "examples": [False],
        },
    )


class ResultsQuery(ma.Schema):
    page = DecimalInteger(load_default=1, validate=validate.Range(1, MAX_PAGE), metadata=PAGE)
    page_size = DecimalInteger(
        load_default=100,
        validate=validate.Range(1, 1000),
        metadata={"description": "Images on a page", "examples": [100]},
    )
    format = ma.fields.String(
        validate=validate.OneOf(list(STREAMS)),
        metadata={"description": "All results at once, in this format instead of pages", "examples": ["jsonl"]},
    )
    bom = FormFlag(
        load_default=False,
        metadata={
            "description": "`true`: begin the CSV with a byte order mark, so that Excel reads it as UTF-8",
            "examples": [True],
        },
    )
    download = FormFlag(
        load_default=False,
        metadata={
            "description": "`true`: with `format`, send a name for the file, so that browsers save it",
            "examples": [True],
        },
    )


class EventsHeaders(ma.Schema):
    last_event_id = ma.fields.String(
        data_key="Last-Event-ID",
        metadata={
            "description": "The `id` of the last received event. Browsers send it when they reconnect",
            "examples": ["running-480-1"],
        },
    )


class Job(ma.Schema):
    id = ma.fields.String(required=True, metadata=ID)
    state = ma.fields.String(
        required=True,
        validate=validate.OneOf(STATES),
        metadata={"description": "`expired`: the job took too long", "examples": ["running"]},
    )
    total = ma.fields.Integer(required=True, metadata={"description": "Images of the job", "examples": [2000]})
    done = ma.fields.Integer(required=True, metadata={"description": "Images with captions", "examples": [480]})
    failed = ma.fields.Integer(required=True, metadata={"description": "Images with an error", "examples": [1]})
    seconds_remaining = ma.fields.Float(
        required=True,
        allow_none=True,
        metadata={"description": "Estimate from the speed so far; null while it is unknown", "examples": [63.5]},
    )
    created_at = ma.fields.DateTime(
        required=True, metadata={"description": "When the job was submitted", "examples": ["2026-11-24T12:00:00+00:00"]}
    )
    ended_at = ma.fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When the job ended, in any state", "examples": ["2026-11-24T12:02:07+00:00"]},
    )


class JobResult(ma.Schema):
    """The result of one image: `captions`, `error`, or neither while the image waits."""

    index = ma.fields.Integer(required=True, metadata={"description": "Place in the upload, from 0", "examples": [0]})
    input = ma.fields.String(required=True, metadata={"description": "The file's name", "examples": ["my_cat.jpg"]})
    captions = ma.fields.List(
        ma.fields.String(),
        metadata={"description": "The best first", "examples": [["a small red star on a grey background"]]},
    )
    error = ma.fields.String(
        metadata={"description": "Why there are no captions", "examples": ["the png image is broken or cut short"]}
    )
