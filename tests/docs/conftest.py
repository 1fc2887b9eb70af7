from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with links into the checkout, where documented commands run and write files."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("tests", "examples", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    return folder
