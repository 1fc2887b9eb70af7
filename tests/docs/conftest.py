from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout for commands of documents, so that the checkout gets no files of theirs."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("tests", "examples", "README.md"):
        (folder / name).symlink_to(ROOT / name)
    return folder
