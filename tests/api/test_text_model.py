from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from tests.conftest import Server, assert_error

MLOPS = {"email": "mlops@gmail.com", "domain_match": "gmail"}


@pytest.mark.parametrize(("text", "is_email"), [("mlops@gmail.com", True), ("a@b.c|d", False), ("a@b.de\n", False)])
def test_a_text_in_the_query_is_classified(client: FlaskClient, text: str, is_email: bool) -> None:
    answer = client.get("/text_model/", query_string={"data": text}).get_json()
    assert answer == {"input": text, "message": "OK", "status-code": 200, "is_email": is_email}


@pytest.mark.parametrize(("provider", "matches"), [("gmail", True), ("hotmail", False)])
def test_an_email_is_matched_against_a_provider(client: FlaskClient, provider: str, matches: bool) -> None:
    body = MLOPS | {"domain_match": provider}
    answer = client.post("/text_model/", json=body).get_json()
    expected = {"input": body, "message": "OK", "status-code": 200, "is_email": True, "is_domain_match": matches}
    assert answer == expected


def test_a_too_long_text_is_no_email(client: FlaskClient) -> None:
    long = "a" * 300 + "@gmail.com"
    assert client.get("/text_model/", query_string={"data": long}).get_json()["is_email"] is False
    answer = client.post("/text_model/", json=MLOPS | {"email": long}).get_json()
    assert (answer["is_email"], answer["is_domain_match"]) == (False, False)


def test_the_longest_text_in_the_query_fits_in_a_request_line(server: Server) -> None:
    url = server.url + "/text_model/"
    assert requests.get(url, params={"data": "\U0001f600" * 320}, timeout=10).json()["is_email"] is False
    assert_error(requests.get(url, params={"data": "a" * 321}, timeout=10), 422, "query", "data")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "a" * 100_000}, "email"),
        ({"email": 5}, "email"),
        ({"domain_match": "yahoo"}, "domain_match"),
        ({"domain_match": ["gmail"]}, "domain_match"),
        ({"domain": "gmail"}, "domain"),
    ],
)
def test_an_invalid_field_is_named(client: FlaskClient, change: dict[str, Any], field: str) -> None:
    assert_error(client.post("/text_model/", json=MLOPS | change), 422, "json", field)


def test_a_missing_field_is_named(client: FlaskClient) -> None:
    assert_error(client.get("/text_model/"), 422, "query", "data")
    assert_error(client.post("/text_model/", json={"email": "a@b.de"}), 422, "json", "domain_match")
    assert_error(client.post("/text_model/"), 422, "json", "email")
    assert_error(client.post("/text_model/", json=[MLOPS]), 422, "json")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"email": "a@b.de",}',
        b'{"email": NaN, "domain_match": "gmail"}',
        b'{"email": "a@b.de", "email": "c@d.de", "domain_match": "gmail"}',
        b'{"email": "\xff", "domain_match": "gmail"}',
        b"[" * 60_000,
        b'{"email": ' * 40 + b"1" + b"}" * 40,
        b"9" * 5000,
    ],
)
def test_malformed_json_is_a_bad_request(client: FlaskClient, body: bytes) -> None:
    assert_error(client.post("/text_model/", data=body, content_type="application/json"), 400)


def test_json_has_a_maximum_size(client: FlaskClient) -> None:
    for size, status in ((2**17, 422), (2**17 + 1, 413)):
        body = b'{"email": "' + b"x" * (size - 13) + b'"}'
        assert_error(client.post("/text_model/", data=body, content_type="application/json"), status)


def test_a_body_that_is_not_json_is_an_unsupported_media_type(client: FlaskClient) -> None:
    answer = client.post("/text_model/", data=MLOPS)
    assert_error(answer, 415)
    assert answer.get_json()["message"] == "Send JSON, with the content type application/json."


def test_a_byte_order_mark_is_ignored_and_other_encodings_are_named(client: FlaskClient) -> None:
    body = '{"email": "a@gmail.com", "domain_match": "gmail"}'
    answer = client.post("/text_model/", data=b"\xef\xbb\xbf" + body.encode(), content_type="application/json")
    assert answer.get_json()["is_domain_match"] is True
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        answer = client.post("/text_model/", data=body.encode(encoding), content_type="application/json")
        assert_error(answer, 400)
        assert answer.get_json()["message"] == f"The JSON is encoded in {encoding.upper()}: send UTF-8."


def test_a_required_field_may_not_be_null(client: FlaskClient) -> None:
    answer = client.post("/text_model/", json={"email": None, "domain_match": "gmail"})
    assert_error(answer, 422, "json", "email")
