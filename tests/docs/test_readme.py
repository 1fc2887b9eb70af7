"""README.md is short, has the figures of docs/performance.md, and has the set-up commands."""

import re
import subprocess

from tests.conftest import ROOT
from tests.documents import DOCS, README

MOST_LINES = 150


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES


def test_the_figures_equal_docs_performance() -> None:
    section = README.read_text().partition("## Speed")[2].partition("\n## ")[0]
    full = {row[0]: row[1:] for row in rows((DOCS / "performance.md").read_text())}
    found = [row for row in rows(section) if row[0] in full]
    assert len(found) == 7, "three rows of flaskapp, four of other servers"
    for name, *figures in found:
        single, ratio, _, many, ratio_of_many, *_ = full[name]
        assert figures == [single, ratio, many, ratio_of_many], name


def rows(text: str) -> list[list[str]]:
    lines = re.findall(r"^\| (.*) \|$", text, flags=re.MULTILINE)
    return [line.split(" | ") for line in lines]


def test_ci_finds_the_test_command_in_the_readme() -> None:
    """Extract it with the same `sed` as .ci/run."""
    script = re.search(r"eval \"\$\((sed .+ README\.md)\)\"", (ROOT / ".ci" / "run").read_text())
    assert script
    command = subprocess.run(["bash", "-c", script[1]], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert command.startswith("python3 -m venv .venv && ")
    assert command.rstrip().endswith("-m pytest -n 2 --dist loadfile")


def test_every_requirement_is_pinned() -> None:
    files = [ROOT / "requirements.txt", *(ROOT / "tests").glob("**/requirements*.txt")]
    assert len(files) == 4, "the server's, the tests', two of the benchmarks"
    for file in files:
        for line in file.read_text().splitlines():
            assert not line or line.startswith("#") or "==" in line, f"{file}: {line}"
