"""docs/architecture.md: which module may import what."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import name_of

PACKAGE = ROOT / "flaskapp"
DOMAIN = ("images/", "emails.py", "accounts.py", "jobs/", "captioner/")


def imports(file: Path) -> Iterator[str]:
    """Yield the names of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def importers(package: str) -> list[str]:
    """Return the modules that import a package, as paths in flaskapp/."""
    return [
        str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*.py"))
        if any(name.split(".")[0] == package for name in imports(file))
    ]


@pytest.mark.parametrize(
    ("package", "folder"), [("torch", "captioner/"), ("cv2", "images/"), ("celery", "jobs/"), ("gunicorn", "serving/")]
)
def test_only_one_part_imports_a_package(package: str, folder: str) -> None:
    assert importers(package)
    assert [path for path in importers(package) if not path.startswith(folder)] == []


def test_the_domain_imports_no_flask() -> None:
    assert [path for path in importers("flask") if path.startswith(DOMAIN)] == []


def test_the_client_imports_no_other_part_of_flaskapp() -> None:
    for file in (PACKAGE / "client").rglob("*.py"):
        ours = [name for name in imports(file) if name.startswith("flaskapp")]
        assert [name for name in ours if not name.startswith("flaskapp.client")] == [], name_of(file)
