"""The list of a client's jobs."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.api.test_caption_jobs import submit, work
from tests.conftest import assert_error

PATH = "/caption_jobs/"


def ids(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.get_json()]


def submit_many(client: FlaskClient, number: int, **options: Any) -> list[str]:
    """Submit jobs and return their ids, the newest first."""
    return [submit(client, "star.png", **options).get_json()["id"] for _ in range(number)][::-1]


def links(answer: TestResponse) -> dict[str, str]:
    """Return the URLs of the Link header by relation, resolved as clients do."""
    found = {}
    for link in answer.headers["Link"].split(", "):
        address, relation = link.split("; ")
        found[relation.removeprefix('rel="').rstrip('"')] = urljoin(answer.request.path, address.strip("<>"))
    return found


def test_jobs_are_listed_newest_first_with_their_statuses(client: FlaskClient) -> None:
    assert client.get(PATH).get_json() == []
    newest, oldest = submit_many(client, 2)
    submit(client, "star.png", "circle_and_diamond.png")
    work(client)
    listed = client.get(PATH)
    assert ids(listed)[1:] == [newest, oldest]
    assert listed.get_json() == [client.get(PATH + job_id).get_json() for job_id in ids(listed)]
    assert [(job["state"], job["total"], job["done"]) for job in listed.get_json()] == [
        ("done", 2, 2), ("done", 1, 1), ("done", 1, 1)
    ]  # fmt: skip


def test_linked_pages_have_each_job_once(client: FlaskClient) -> None:
    expected = submit_many(client, 5)
    address, seen = PATH + "?page_size=2", []
    while address:
        page = client.get(address)
        assert len(ids(page)) <= 2
        seen += ids(page)
        address = links(page).get("next", "")
    assert seen == expected
    assert json.loads(page.headers["X-Pagination"])["total_pages"] == 3
    assert links(page) == {
        "first": "/caption_jobs/?page=1&page_size=2",
        "prev": "/caption_jobs/?page=2&page_size=2",
    }


@pytest.mark.parametrize("query", ["page=4&page_size=2", "page=1000000000&page_size=100"])
def test_a_page_beyond_the_last_is_empty_and_links_back(client: FlaskClient, query: str) -> None:
    submit_many(client, 3)
    page = client.get(f"{PATH}?{query}")
    assert ids(page) == []
    assert links(page).keys() == {"first", "prev"}
    assert ids(client.get(links(page)["prev"])), "the last page"


@pytest.mark.parametrize(
    ("query", "field"),
    [("page=0", "page"), ("page=x", "page"), ("page_size=101", "page_size"), ("page_size=0", "page_size")],
)
def test_an_invalid_page_is_named(client: FlaskClient, query: str, field: str) -> None:
    assert_error(client.get(f"{PATH}?{query}"), 422, "query", field)


def test_a_login_sees_only_its_own_jobs(make_app: Callable[..., Flask]) -> None:
    app = make_app(REQUIRE_LOGIN=True)
    for name in ("ada", "bob"):
        app.extensions["accounts"].add(name, "correct horse")
    client = app.test_client()
    assert_error(client.get(PATH), 401)
    theirs = {name: submit_many(client, 2, auth=(name, "correct horse")) for name in ("ada", "bob")}
    for name, expected in theirs.items():
        assert ids(client.get(PATH, auth=(name, "correct horse"))) == expected


def test_without_logins_an_address_sees_only_its_own_jobs(make_app: Callable[..., Flask]) -> None:
    client = make_app(TRUSTED_PROXIES=1).test_client()
    theirs = {
        address: submit_many(client, 2, headers={"X-Forwarded-For": address}) for address in ("192.0.2.1", "192.0.2.2")
    }
    for address, expected in theirs.items():
        assert ids(client.get(PATH, headers={"X-Forwarded-For": address})) == expected
    assert ids(client.get(PATH, headers={"X-Forwarded-For": "192.0.2.3"})) == []


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_behind_an_untrusted_proxy_no_jobs_are_listed(client: FlaskClient, header: str) -> None:
    """All clients have the proxy's address, so each would see all jobs."""
    submit_many(client, 1)
    answer = client.get(PATH, headers={header: "192.0.2.1"})
    assert_error(answer, 403)
    assert "proxy" in answer.get_json()["message"]


def test_a_client_without_an_address_sees_no_job(client: FlaskClient) -> None:
    """Clients of a Unix socket have no address."""
    nowhere = {"REMOTE_ADDR": ""}
    submit(client, "star.png", environ_overrides=nowhere)
    assert_error(client.get(PATH, environ_overrides=nowhere), 403)
