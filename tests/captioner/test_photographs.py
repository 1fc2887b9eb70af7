"""Photographs are decoded at a smaller scale before they are captioned."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask

from flaskapp.captioner import Captioner, Configuration, GenerationSettings
from flaskapp.captioner.loading import Loaded
from flaskapp.jobs import Limits, NamedFile
from flaskapp.jobs.queue import TASK
from tests.benchmarks.photographs import compare, draw
from tests.photograph import photograph
from tests.test_images import to_bytes


@pytest.mark.slow
def test_a_photograph_decoded_at_a_smaller_scale_has_the_same_caption() -> None:
    captioner = Captioner()
    captioner.configure(Configuration(model="embedded"))
    captioner.load()
    compared = compare(captioner, [draw(index) for index in range(10)])
    captioner.close()
    assert [each.reduced for each in compared] == [each.full for each in compared]
    assert min(each.decibels for each in compared) > 38


def by_form(app: Flask, data: bytes) -> None:
    assert app.test_client().post("/caption/", data={"data": (io.BytesIO(data), "a.jpg")}).status_code == 200


def by_bytes(app: Flask, data: bytes) -> None:
    assert app.test_client().post("/image-to-text", data=data, content_type="image/jpeg").status_code == 200


def by_job(app: Flask, data: bytes) -> None:
    jobs = app.extensions["jobs"]
    limits = Limits(images=1, bytes=2**24)
    job = jobs.submit((NamedFile("a.jpg", data),), limits, GenerationSettings(), "", None)
    jobs.queue.celery.tasks[TASK](job.id, 0)
    assert jobs.find(job.id, "").state == "done"


def by_command(app: Flask, data: bytes) -> None:
    path = Path(app.config["DATABASE_URL"].removeprefix("sqlite:///")).with_name("a.jpg")
    path.write_bytes(data)
    assert app.test_cli_runner().invoke(args=["caption", str(path)]).exit_code == 0


@pytest.mark.parametrize("ask", [by_form, by_bytes, by_job, by_command])
def test_every_way_to_a_caption_decodes_a_photograph_at_least_at_twice_the_model_s_input(
    ask: Callable[[Flask, bytes], None], make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    preprocess = Loaded.preprocess

    def record(self: Loaded, image: np.ndarray) -> Any:
        shapes.append(image.shape)
        return preprocess(self, image)

    monkeypatch.setattr(Loaded, "preprocess", record)
    ask(make_app(), to_bytes(photograph(1600, 1200), "JPEG"))
    assert shapes == [(300, 400, 3)], "an eighth would be less than twice 96"
