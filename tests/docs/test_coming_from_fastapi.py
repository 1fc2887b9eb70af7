"""docs/coming-from-fastapi.md: the lines that it quotes are in their files."""

import re

import pytest

from tests.documents import DOCS

DOCUMENT = DOCS / "coming-from-fastapi.md"
QUOTED = re.findall(r"^\| `[^`]+` \| `([^`]+)` \| \[[\w.]+\]\(([\w./]+)\) \|$", DOCUMENT.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("line", "file"), QUOTED)
def test_each_line_that_is_quoted_is_in_its_file(line: str, file: str) -> None:
    assert line in (DOCS / file).read_text()


def test_each_row_is_tested() -> None:
    section = DOCUMENT.read_text().partition("## In this repository")[2].partition("\n## ")[0]
    assert len(QUOTED) == len(re.findall(r"^\| `", section, flags=re.MULTILINE)) > 10
