"""Links and paths in the documents exist."""

import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.conftest import ROOT
from tests.documents import CONTRIBUTING, DOCS, DOCUMENTS, README, anchors, name_of

SERVER = "http://localhost:8000"
PATH = re.compile(r"(?<![\w./-])(?:flaskapp|tests|docs|examples|deploy)/(?:[\w.-]+/)*(?:[\w-]+(?:\.\w+)+)?")
QUESTIONS = 20


def links(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)]+)\)", document.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=map(name_of, DOCUMENTS))
def test_every_link_target_exists(client: FlaskClient, document: Path) -> None:
    for target in links(document):
        if target.startswith(SERVER):
            assert client.get(target.removeprefix(SERVER)).status_code == 200, target
            continue
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=map(name_of, DOCUMENTS))
def test_every_path_in_a_document_exists(document: Path) -> None:
    missing = [path for path in PATH.findall(document.read_text()) if not (ROOT / path).exists()]
    assert missing == []


def test_the_readme_links_to_every_document() -> None:
    linked = {(ROOT / target).resolve() for target in links(README) if not target.startswith("http")}
    assert {*DOCS.glob("*.md"), *ROOT.glob("examples/*.md"), CONTRIBUTING} <= linked


def test_the_map_answers_each_question_with_one_path() -> None:
    section = CONTRIBUTING.read_text().partition("## Where is …?")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+\?) \| (.+) \|$", section, flags=re.MULTILINE)
    assert len(rows) >= QUESTIONS
    for question, answer in rows:
        (path,) = PATH.findall(answer)
        assert answer.startswith(f"`{path}`"), question
        assert (ROOT / path).exists(), question


def test_the_architecture_names_modules_at_every_step() -> None:
    """There are two flows, each numbered from 1."""
    steps = re.findall(r"^ +(\d+)  .+?  +(flaskapp/\S+\.py.*)$", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    numbers = [int(number) for number, _ in steps]
    second = numbers.index(1, 1)
    assert numbers == [*range(1, second + 1), *range(1, len(numbers) - second + 1)]
    assert min(second, len(numbers) - second) > 10
