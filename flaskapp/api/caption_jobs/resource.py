"""The blueprint of caption jobs, and the pagination of its views."""

import json
from collections.abc import Mapping
from urllib.parse import urlencode

from flask import current_app

from flaskapp.api.blueprint import Blueprint
from flaskapp.api.protected import ProtectedBlueprint
from flaskapp.jobs import Jobs

PAGINATION = {
    "X-Pagination": {
        "description": "JSON: `total`, `total_pages`, `first_page`, `last_page`, `page`, `previous_page`, `next_page`",
        "schema": {"type": "string"},
    },
    "Link": {
        "description": "RFC 8288: the relative addresses of the pages `first`, `prev` and `next`",
        "schema": {"type": "string"},
        "example": '<?page=1&page_size=20>; rel="first", <?page=2&page_size=20>; rel="next"',
    },
}

blp = ProtectedBlueprint("caption_jobs", __name__, description="Caption jobs: many images, in the background")


def jobs() -> Jobs:
    jobs: Jobs = current_app.extensions["jobs"]
    return jobs


def pagination(page: int, page_size: int, total: int) -> Mapping[str, str]:
    """Return the headers of a page. Links are relative, so that they work behind a proxy that strips a prefix."""
    last = max(1, -(-total // page_size))
    pages = {"first": 1}
    if page > 1:
        pages["prev"] = min(page - 1, last)
    if page < last:
        pages["next"] = page + 1
    links = (
        f'<?{urlencode({"page": number, "page_size": page_size})}>; rel="{relation}"'
        for relation, number in pages.items()
    )
    # A private method: flask-smorest's public decorator paginates a list of all items.
    metadata = Blueprint._make_pagination_metadata(page, page_size, total)
    return {"X-Pagination": json.dumps(metadata), "Link": ", ".join(links)}
