"""Caption jobs: the server accepts many images at once, captions them later, and reports the progress."""

from flaskapp.api.caption_jobs import events, jobs, results  # noqa: F401 - registers their routes
from flaskapp.api.caption_jobs.resource import blp

__all__ = ["blp"]
