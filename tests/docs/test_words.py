"""Plain English: no document, comment, docstring or function name has words for people in place of processes.

Write "the worker" and "a client that disconnected", not "whoever" and "nobody".
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.documents import CHANGELOG, DOCUMENTS, name_of

BANNED = re.compile(
    r"\b(?:whoever|whom|nobody|somebody|anybody|everybody|someone|anyone|he|him|his|himself|she|her|herself"
    r"|for\s+ever|(?:is|are|was|were)\s+away|of\s+which|in\s+vain|crew|bells?|last\s+words|looks?\s+at\s+the\s+clock"
    r"|(?<!everyone )who)\b",
    re.IGNORECASE,
)
OURS = Path(__file__)


def sentences(file: Path) -> Iterator[tuple[int, str]]:
    """Yield a Python file's comments, docstrings, and names of functions and classes as words, with their lines."""
    source = file.read_text()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line = getattr(node, "lineno", 1)
            yield line, getattr(node, "name", "").replace("_", " ")
            yield line, ast.get_docstring(node) or ""


def findings(folder: str) -> list[str]:
    """Return the banned words in a folder's Python files, with file and line."""
    return [
        f"{name_of(file)}:{line}: {found[0]}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        if file != OURS
        for line, text in sentences(file)
        for found in BANNED.finditer(text)
    ]


@pytest.mark.parametrize("document", [*DOCUMENTS, CHANGELOG], ids=name_of)
def test_no_document_has_a_banned_word(document: Path) -> None:
    text = document.read_text()
    assert [(text[: found.start()].count("\n") + 1, found[0]) for found in BANNED.finditer(text)] == []


@pytest.mark.parametrize("folder", ["deploy", "examples", "flaskapp", "tests"])
def test_no_comment_docstring_or_name_has_a_banned_word(folder: str) -> None:
    assert findings(folder) == []


def test_a_banned_word_is_found(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""Whoever waits."""\n\n\ndef wait_for_whom():\n    """Run."""\n    return 1  # for nobody\n')
    assert {word for _, text in sentences(file) for word in BANNED.findall(text)} == {"Whoever", "whom", "nobody"}
