"""The example of each documented error is the operation's real answer."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.test import TestResponse

from flaskapp.images.encoded import BYTES_AT_ONCE, semaphore
from tests.api.compatible.images import base64_of
from tests.api.test_caption import asset
from tests.api.test_caption_jobs import submit
from tests.conftest import ASSETS

NO_BOUNDARY = {"data": b"x", "content_type": "multipart/form-data"}
BROKEN_JSON = {"data": b"?", "content_type": "application/json"}
XML = {"data": b"<data/>", "content_type": "text/xml"}
IMAGES = [base64_of("star.png")]
JOB = "0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55"

# A request and the documented path of its operation. The answer equals the documented example.
REQUESTS: list[tuple[int, str, str, str, dict[str, Any]]] = [
    (422, "get", "/items/{item_id}", "/items/%3F", {}),
    (422, "get", "/restric_items/{item_id}", "/restric_items/%3F", {}),
    (422, "get", "/query_items", "/query_items", {}),
    (422, "get", "/text_model/", "/text_model/", {}),
    (400, "post", "/text_model/", "/text_model/", BROKEN_JSON),
    (415, "post", "/text_model/", "/text_model/", XML),
    (422, "post", "/text_model/", "/text_model/", {"json": {}}),
    (400, "post", "/login/", "/login/", BROKEN_JSON),
    (415, "post", "/login/", "/login/", XML),
    (422, "post", "/login/", "/login/", {}),
    (400, "post", "/cv_model/", "/cv_model/", NO_BOUNDARY),
    (415, "post", "/cv_model/", "/cv_model/", XML),
    (422, "post", "/cv_model/", "/cv_model/", {}),
    (400, "post", "/caption/", "/caption/", NO_BOUNDARY),
    (415, "post", "/caption/", "/caption/", XML),
    (422, "post", "/caption/", "/caption/", {}),
    (400, "post", "/image-to-text", "/image-to-text", BROKEN_JSON),
    (415, "post", "/image-to-text", "/image-to-text", {"data": b"no image"}),
    (422, "post", "/image-to-text", "/image-to-text?max_length=%3F", {"data": (ASSETS / "star.png").read_bytes()}),
    (400, "post", "/caption_jobs/", "/caption_jobs/", NO_BOUNDARY),
    (415, "post", "/caption_jobs/", "/caption_jobs/", XML),
    (422, "post", "/caption_jobs/", "/caption_jobs/", {}),
    (422, "get", "/caption_jobs/", "/caption_jobs/?page=%3F", {}),
    (403, "get", "/caption_jobs/", "/caption_jobs/", {"headers": {"X-Forwarded-For": "10.0.0.1"}}),
    (404, "get", "/caption_jobs/{job_id}", f"/caption_jobs/{JOB}", {}),
    (422, "get", "/caption_jobs/{job_id}", "/caption_jobs/%3F", {}),
    (404, "delete", "/caption_jobs/{job_id}", f"/caption_jobs/{JOB}", {}),
    (422, "delete", "/caption_jobs/{job_id}", "/caption_jobs/%3F", {}),
    (404, "get", "/caption_jobs/{job_id}/results", f"/caption_jobs/{JOB}/results", {}),
    (404, "get", "/caption_jobs/{job_id}/events", f"/caption_jobs/{JOB}/events", {}),
    (400, "post", "/v1/chat/completions", "/v1/chat/completions", {"json": {}}),
    (400, "post", "/api/generate", "/api/generate", {"json": {"model": []}}),
    (400, "post", "/api/chat", "/api/chat", {"json": {"model": []}}),
    (400, "post", "/api/show", "/api/show", {"json": {}}),
    (400, "post", "/v2/models/{name}/infer/", "/v2/models/embedded/infer", {"json": {}}),
    (400, "post", "/api/v1/vision/caption", "/api/v1/vision/caption", {"json": {}}),
]


def errors(spec: dict[str, Any]) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Yield method, path, status and content of each documented error, except the probes', whose schema has them."""
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            for status, response in operation["responses"].items() if method != "parameters" else ():
                if status.isdigit() and int(status) >= 400 and operation["tags"] != ["probes"]:
                    yield method, path, int(status), response["content"]["application/json"]


def example(spec: dict[str, Any], method: str, path: str, status: int) -> Any:
    return spec["paths"][path][method]["responses"][str(status)]["content"]["application/json"]["example"]


@pytest.fixture
def spec(client: FlaskClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").get_json()
    return document


@pytest.mark.parametrize(("status", "method", "path", "address", "request_"), REQUESTS)
def test_a_wrong_request_gets_the_documented_example(
    client: FlaskClient,
    spec: dict[str, Any],
    status: int,
    method: str,
    path: str,
    address: str,
    request_: dict[str, Any],
) -> None:
    answer = client.open(address, method=method, **request_)
    assert answer.status_code == status
    assert answer.get_json() == example(spec, method, path, status)


@pytest.mark.parametrize("login", [False, True])
def test_every_error_has_an_example_that_fits_its_schema_and_status(
    make_app: Callable[..., Flask], login: bool
) -> None:
    spec = make_app(REQUIRE_LOGIN=login).test_client().get("/openapi.json").get_json()
    found = list(errors(spec))
    assert len(found) > 80
    for method, path, status, content in found:
        whole = content["schema"] | {"components": spec["components"]}
        problems = list(Draft202012Validator(whole).iter_errors(content["example"]))
        assert not problems, f"{method} {path} {status}: {problems[0].message}"
        assert content["example"].get("code", status) == status


def test_no_example_names_a_field_that_the_operation_lacks(spec: dict[str, Any]) -> None:
    checked = 0
    for method, path, status, content in errors(spec):
        named = names_in(content["example"]) if status in (400, 422) else set()
        if named:
            assert named <= fields(spec, path, method), f"{method} {path} {status}"
            checked += 1
    assert checked >= 20


def names_in(shown: Any) -> set[str]:
    """Return the fields that an example names, in any of the error shapes."""
    if "errors" in shown:
        return {name for named in shown["errors"].values() for name in named}
    error = shown.get("error")
    if isinstance(error, dict):
        return {error["param"]} - {None}
    return {error.partition(": ")[0]} if error and "message" not in shown else set()


def fields(spec: dict[str, Any], path: str, method: str) -> set[str]:
    """Return the names of an operation's parameters and of its bodies' members."""
    item = spec["paths"][path]
    names = {each["name"] for each in [*item.get("parameters", []), *item[method].get("parameters", [])]}
    for media in item[method].get("requestBody", {}).get("content", {}).values():
        schema = media["schema"]
        if "$ref" in schema:
            schema = spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        names |= schema.get("properties", {}).keys()
    return names


def test_a_too_large_body_gets_the_example(make_app: Callable[..., Flask]) -> None:
    client = make_app(MAX_UPLOAD_MB=1).test_client()
    spec = client.get("/openapi.json").get_json()
    for path in ("/caption/", "/cv_model/", "/image-to-text", "/v1/chat/completions", "/api/generate"):
        answer = client.post(path, data=b"x" * 2**21, content_type="application/json")
        assert answer.get_json() == example(spec, "post", path, answer.status_code), path
    assert answer.status_code == 413


def test_an_error_of_the_server_s_state_gets_the_example(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(RATE_LIMIT_IMAGES="60 per hour", RATE_LIMIT_LOGIN="1/hour", REGISTRATION="closed")
    client = app.test_client()
    spec = client.get("/openapi.json").get_json()

    def check(answer: TestResponse, path: str, status: int) -> None:
        assert answer.status_code == status
        assert answer.get_json() == example(spec, "post", path, status)
        assert status not in (429, 503) or "Retry-After" in answer.headers

    check(client.post("/login/", json={"username": "ada", "password": "wrong"}), "/login/", 401)
    check(client.post("/login/", json={"username": "ada", "password": "wrong"}), "/login/", 429)
    monkeypatch.setattr(semaphore, "_wait", 0.01)  # not ten seconds
    with semaphore.take(BYTES_AT_ONCE):
        check(client.post("/cv_model/", data={"data": asset("star.png")}), "/cv_model/", 503)
    submit(client, "star.png", headers={"Idempotency-Key": "one"})
    check(submit(client, "circle_and_diamond.png", headers={"Idempotency-Key": "one"}), "/caption_jobs/", 409)
    with app.app_context():
        app.extensions["image_quota"].take("127.0.0.1", 59)
    check(client.post("/caption/", data={"data": asset("star.png")}), "/caption/", 429)
    check(client.post("/image-to-text", data=(ASSETS / "star.png").read_bytes()), "/image-to-text", 429)
    check(client.post("/api/generate", json={"images": IMAGES, "stream": False}), "/api/generate", 429)


@pytest.mark.parametrize("path", ["/caption/", "/text_model/", "/v1/chat/completions", "/api/generate"])
def test_a_missing_login_gets_the_example(make_app: Callable[..., Flask], path: str) -> None:
    client = make_app(REQUIRE_LOGIN=True).test_client()
    answer = client.post(path)
    assert answer.get_json() == example(client.get("/openapi.json").get_json(), "post", path, 401)
    assert "WWW-Authenticate" in answer.headers
