"""Caption many images later: a job is accepted at once, and its status is read until it is done."""

from flaskapp.api.caption_jobs import events, jobs, results  # noqa: F401 - for their routes
from flaskapp.api.caption_jobs.resource import blp

__all__ = ["blp"]
