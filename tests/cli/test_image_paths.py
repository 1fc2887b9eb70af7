import shutil
from pathlib import Path

import pytest

from flaskapp.cli.image_paths import image_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.png", "b/1.JPEG", "a/3.webp", "a/c/4.bmp", "5.gif", "notes.txt", "png", ".6.png", ".d/7.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "round").symlink_to(tmp_path)
    return tmp_path


def fail(error: OSError) -> None:
    raise error


def test_folders_yield_images_in_name_order_without_following_loops(folder: Path) -> None:
    names = [str(path.relative_to(folder)) for path in image_paths([folder], fail)]
    assert names == ["5.gif", "a/3.webp", "a/c/4.bmp", "b/1.JPEG", "b/2.png"]


def test_named_paths_are_yielded_in_the_given_order_whatever_their_kind(folder: Path) -> None:
    named = [folder / "b", folder / "notes.txt", folder / ".6.png", folder / "missing", folder / ".d"]
    names = [str(path.relative_to(folder)) for path in image_paths(named, fail)]
    assert names == ["b/1.JPEG", "b/2.png", "notes.txt", ".6.png", "missing", ".d/7.png"]


def test_an_unreadable_folder_is_reported_and_the_others_are_read(folder: Path) -> None:
    errors: list[OSError] = []
    paths = image_paths([folder], errors.append)
    assert next(paths) == folder / "5.gif"
    shutil.rmtree(folder / "a")
    assert [path.name for path in paths] == ["1.JPEG", "2.png"]
    assert [error.filename for error in errors] == [str(folder / "a")]
