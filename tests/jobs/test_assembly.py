"""The parts of jobs, put together."""

import io
from collections.abc import Callable

import pytest
from flask import Flask


def test_a_server_that_runs_no_worker_says_so_when_it_takes_a_job(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    answer = make_app().test_client().post("/caption_jobs/", data={"data": (io.BytesIO(b"x"), "x.png")})
    assert answer.status_code == 202
    assert "`celery -A flaskapp.jobs worker`" in caplog.text
