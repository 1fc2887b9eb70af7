"""Fixtures: the command `flask --app wsgi caption` on a new application, and images for it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from tests.cli.captioning import Run
from tests.conftest import ASSETS


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app()


@pytest.fixture
def run(app: Flask) -> Run:
    def run(*arguments: object, password: str = "") -> Result:
        result = app.test_cli_runner().invoke(args=["caption", *map(str, arguments)], input=password)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with two images, one of them in a subfolder, and a text file."""
    folder = tmp_path / "images"
    (folder / "a" / ".hidden").mkdir(parents=True)
    shutil.copy(ASSETS / "star.png", folder / "star.PNG")
    shutil.copy(ASSETS / "circle_and_diamond.png", folder / "a" / "both.jpg")  # the content decides the format
    for name in ("notes.txt", ".star.png", "a/.hidden/star.png"):
        (folder / name).write_text("not an image")
    return folder
