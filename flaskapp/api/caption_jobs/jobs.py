"""Submit, list, read, cancel and delete jobs."""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from flask import current_app, url_for

from flaskapp import trace_context
from flaskapp.api import image_quota
from flaskapp.api.caption import IMAGE_TYPES
from flaskapp.api.caption_jobs.resource import PAGINATION, blp, jobs, pagination
from flaskapp.api.caption_jobs.schemas import DeleteQuery, Job, JobForm, JobHeaders, JobPath, JobsQuery
from flaskapp.api.client_addresses import UNKNOWN_ADDRESS, require_client_address
from flaskapp.api.errors import validation_errors
from flaskapp.api.protected import client, username
from flaskapp.captioner import GenerationSettings, captioner
from flaskapp.jobs import JobStatus, Limits, NamedFile
from flaskapp.jobs.ledger import KEY_REUSED

LOCATION = {"Location": {"description": "The URL of the job", "schema": {"type": "string"}}}
CONTENT_TYPES = {"config": "application/json", "data": f"{IMAGE_TYPES}, application/zip"}


@blp.route("/caption_jobs/", methods=["POST"])
@blp.arguments(JobHeaders, location="headers", as_kwargs=True)
@blp.form(JobForm, content_types=CONTENT_TYPES)
@blp.response(202, Job, headers=LOCATION | image_quota.HEADERS)
@blp.errors(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.CONFLICT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
    messages={HTTPStatus.CONFLICT: KEY_REUSED},
)
def submit(
    data: list[NamedFile], config: GenerationSettings, key: str | None = None, webhook: str | None = None
) -> Any:
    """Submit many images to be captioned later

    An image that cannot be captioned has an error in the results; the others are captioned. With an `Idempotency-Key`,
    a repeated request returns the job that the first one created, or 409 if its content differs.
    """
    with validation_errors("config"):
        sequences = captioner.resolve(config).num_return_sequences
    settings = replace(config, num_return_sequences=sequences)  # fixes the columns of the CSV
    # A retry with the same key does not count for the quota: `submit` gives its images back.
    with validation_errors("data"), image_quota.admit_during() as admit:
        job = jobs().submit(
            data, _limits(), settings, username(), key, client(), admit, webhook or None, trace_context.current()
        )
    return job, {"Location": url_for("caption_jobs.find", job_id=job.id)}


@blp.route("/caption_jobs/")
@blp.arguments(JobsQuery, location="query", as_kwargs=True)
@blp.response(200, Job(many=True), headers=PAGINATION)
@blp.errors(HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE, messages={HTTPStatus.FORBIDDEN: UNKNOWN_ADDRESS})
def list_jobs(page: int, page_size: int) -> tuple[list[JobStatus], Mapping[str, str]]:
    """List your jobs, the newest first

    These are the jobs of your login or API token. If the server requires no login, they are the jobs from your IPv4
    address or your /64 network of IPv6.
    """
    if not username():
        require_client_address()
    found, total = jobs().page(username(), client(), (page - 1) * page_size, page_size)
    return found, pagination(page, page_size, total)


@blp.route("/caption_jobs/<job_id>")
@blp.arguments(JobPath, location="path", as_kwargs=True)
@blp.response(200, Job)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def find(job_id: str) -> JobStatus:
    """Get the status of a job"""
    return jobs().find(job_id, username())


@blp.route("/caption_jobs/<job_id>", methods=["DELETE"])
@blp.arguments(JobPath, location="path", as_kwargs=True)
@blp.arguments(DeleteQuery, location="query", as_kwargs=True)
@blp.response(204)
@blp.errors(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)
def delete(job_id: str, keep_results: bool) -> None:
    """Cancel a job, or delete one that has ended

    A cancelled job keeps its finished captions. A job that has ended is deleted with its results (404 from then on),
    unless `keep_results` is true.
    """
    if keep_results:
        jobs().cancel(job_id, username())
    else:
        jobs().cancel_or_delete(job_id, username())


def _limits() -> Limits:
    return Limits(current_app.config["MAX_JOB_IMAGES"], current_app.config["MAX_JOB_MB"] * 2**20)
