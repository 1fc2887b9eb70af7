"""The results of a job: as pages, JSONL or CSV."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flaskapp.errors import DatabaseUnavailable, UnknownJob
from tests.api.test_caption import STAR, asset
from tests.api.test_caption_jobs import UNKNOWN_JOB, jobs_of, small, submit, work
from tests.conftest import assert_error

__all__ = ["small"]  # a fixture


def test_results_are_pages_jsonl_or_csv(small: FlaskClient) -> None:
    location = submit(small, *["star.png"] * 5, config={"num_return_sequences": 2}).headers["Location"]
    work(small)
    page = small.get(location + "/results?page=2&page_size=2")
    assert [result["index"] for result in page.get_json()] == [2, 3]
    assert json.loads(page.headers["X-Pagination"]) == {
        "total": 5, "total_pages": 3, "first_page": 1, "last_page": 3, "page": 2, "previous_page": 1, "next_page": 3
    }  # fmt: skip
    assert small.get(location + "/results?page=1000000000&page_size=1000").get_json() == []
    lines = small.get(location + "/results?format=jsonl")
    assert lines.mimetype == "application/jsonl"
    assert [json.loads(line) for line in lines.text.splitlines()] == small.get(location + "/results").get_json()
    table = small.get(location + "/results?format=csv")
    assert table.mimetype == "text/csv"
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["index"] for row in rows] == list("01234")
    assert {row["caption"] for row in rows} == {STAR}
    assert all(row["caption_2"] and not row["error"] for row in rows)


def test_a_page_beyond_the_last_is_empty_without_a_query(small: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    location = submit(small, "star.png").headers["Location"]
    monkeypatch.setattr(jobs_of(small).ledger, "images", None)
    for query in ("page=2&page_size=1", "page=1000000000&page_size=1000"):  # the second one's first row exceeds INTEGER
        assert small.get(f"{location}/results?{query}").get_json() == []


@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_a_failure_before_the_first_row_is_an_error_and_a_later_one_truncates_the_stream(
    small: FlaskClient, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    location = submit(small, *["star.png"] * 3).headers["Location"]
    ledger = jobs_of(small).ledger
    images = ledger.images

    def fail_after(rows: int, error: Exception | None) -> None:
        def read(job_id: str, first: int, count: int) -> Any:
            if first < rows:
                return images(job_id, first, count)
            if error:
                raise error
            return []

        monkeypatch.setattr(ledger, "images", read)

    monkeypatch.setattr("flaskapp.jobs.service.PAGE", 2)
    fail_after(0, DatabaseUnavailable("away"))
    assert_error(small.get(f"{location}/results?format={format}"), 503)
    fail_after(0, None)
    assert_error(small.get(f"{location}/results?format={format}"), 404)
    fail_after(2, None)
    with pytest.raises(UnknownJob):
        assert small.get(f"{location}/results?format={format}").text


def test_a_file_name_like_a_formula_is_escaped_in_csv(client: FlaskClient) -> None:
    location = submit(client, (asset("star.png")[0], "=1+1.png")).headers["Location"]
    assert "0,'=1+1.png,," in client.get(location + "/results?format=csv").text
    assert client.get(location + "/results").get_json()[0]["input"] == "=1+1.png"


@pytest.mark.parametrize(
    ("query", "field"),
    [("page=0", "page"), ("page=1_0", "page"), ("page_size=1001", "page_size"), ("page=9999999999", "page"),
     ("format=xml", "format")],
)  # fmt: skip
def test_an_invalid_page_is_named(client: FlaskClient, query: str, field: str) -> None:
    assert_error(client.get(f"{UNKNOWN_JOB}/results?{query}"), 422, "query", field)


@pytest.mark.parametrize(("config", "columns"), [(None, 2), ({"num_return_sequences": 3}, 3), ({"num_beams": 1}, 1)])
def test_csv_has_as_many_caption_columns_as_an_image_has_captions(
    make_app: Callable[..., Flask], config: dict[str, int] | None, columns: int
) -> None:
    client = make_app(CAPTIONER_DEFAULTS={"num_return_sequences": 2}).test_client()
    location = submit(client, "star.png", config=config).headers["Location"]
    titles = client.get(location + "/results?format=csv").text.splitlines()[0].split(",")
    assert len([title for title in titles if title.startswith("caption")]) == columns
    work(client)
    titles, cells = csv.reader(client.get(location + "/results?format=csv").text.splitlines())
    assert len(cells) == len(titles)
    assert all(cells[3:])
