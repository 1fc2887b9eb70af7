"""The cost of a request without our code: an empty application, and one route of plain Flask."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from flask import Flask

flask_app = Flask(__name__, static_folder=None)


def empty_app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = json.dumps({"item_id": 5}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


@flask_app.get("/items/<int:item_id>")
def read_item(item_id: int) -> dict[str, int]:
    return {"item_id": item_id}
