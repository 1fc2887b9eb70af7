"""The documented Python sessions print the documented output."""

import doctest
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import Server
from tests.documents import DOCUMENTS, blocks, name_of

WITH_SESSIONS = [each for each in DOCUMENTS if any(">>> " in block for block in blocks(each, "python"))]


def sessions(document: Path) -> list[str]:
    return [block for block in blocks(document, "python") if ">>> " in block]


@pytest.mark.parametrize("document", WITH_SESSIONS, ids=map(name_of, WITH_SESSIONS))
def test_each_python_session_prints_the_documented_output(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, document: Path
) -> None:
    """Sessions of one document share variables."""
    monkeypatch.chdir(folder)
    text = "\n".join(sessions(document)).replace("localhost:8000", urlsplit(server.url).netloc)
    example = doctest.DocTestParser().get_doctest(text, {}, name_of(document), name_of(document), 0)
    failures, tries = doctest.DocTestRunner().run(example)
    assert (failures, tries) == (0, text.count(">>> "))


def test_every_client_has_a_documented_session() -> None:
    text = "".join(session for document in WITH_SESSIONS for session in sessions(document))
    for package in ("requests", "openai", "huggingface_hub", "ollama", "tritonclient", "flaskapp.client"):
        assert f">>> from {package}" in text or f">>> import {package}" in text, package


@pytest.mark.parametrize("document", DOCUMENTS, ids=map(name_of, DOCUMENTS))
def test_all_other_python_compiles(document: Path) -> None:
    for block in blocks(document, "python"):
        if ">>> " not in block:
            compile(block, name_of(document), "exec")
