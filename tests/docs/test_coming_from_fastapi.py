"""docs/coming-from-fastapi.md: both programs of each pair behave the same, and quoted lines are in their files."""

import importlib.util
import io
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import pytest
from fastapi.testclient import TestClient

from tests.documents import DOCS

DOCUMENT = DOCS / "coming-from-fastapi.md"
PROGRAM = r"^```python\n(.*?)^```$.*?"
PAIR = re.compile(rf"^## (.+?)\n+<table>.*?{PROGRAM}{PROGRAM}^</table>$", re.DOTALL | re.MULTILINE)
PAIRS = {title: (fastapi, flask) for title, fastapi, flask in PAIR.findall(DOCUMENT.read_text())}
QUOTED = re.findall(r"^\| `[^`]+` \| `([^`]+)` \| \[[\w.]+\]\(([\w./]+)\) \|$", DOCUMENT.read_text(), re.MULTILINE)

FILE = {"data": ("a.png", b"content")}


class Call(NamedTuple):
    """A request to both programs. `status` is a pair of FastAPI's and Flask's where they differ."""

    method: str
    path: str
    answer: Any = None  # JSON; None: not compared
    status: int | tuple[int, int] = 200
    options: Mapping[str, Any] = MappingProxyType({})  # of requests


CALLS = {
    "Path parameters": [
        Call("GET", "/items/5", {"item_id": 5}),
        Call("GET", "/items/foo", status=(422, 404)),
        Call("GET", "/models/lenet", {"model": "lenet"}),
        Call("GET", "/models/vgg", status=(422, 404)),
    ],
    "Query parameters": [
        Call("GET", "/items", {"limit": 10, "q": None}),
        Call("GET", "/items?limit=5&q=tea", {"limit": 5, "q": "tea"}),
        Call("GET", "/items?limit=101", status=422),
    ],
    "Body models": [
        Call("POST", "/emails", {"is_match": True}, options={"json": {"email": "a@gmail.com", "provider": "gmail"}}),
        Call("POST", "/emails", status=422, options={"json": {"email": "a@gmail.com", "provider": "example"}}),
        Call(
            "POST", "/emails",
            status=(200, 422), options={"json": {"email": "a@gmail.com", "provider": "gmail", "unknown": 1}},
        ),
    ],
    "Files and forms": [
        Call("POST", "/size", {"name": "a.png", "bytes": 7, "title": ""}, options={"files": FILE}),
        Call(
            "POST", "/size",
            {"name": "a.png", "bytes": 7, "title": "x"}, options={"files": FILE, "data": {"title": "x"}},
        ),
        Call("POST", "/size", status=(422, 400)),
        Call("POST", "/echo", options={"files": FILE}),
    ],
    "Depends": [
        Call("GET", "/me", {"user": "ada"}, options={"headers": {"Authorization": "Bearer 123"}}),
        Call("GET", "/me", status=401),
    ],
    "Depends with yield": [Call("GET", "/answer", {"answer": 42})],
    "APIRouter": [
        Call("GET", "/admin/jobs", {"jobs": []}, options={"headers": {"X-Key": "secret"}}),
        Call("GET", "/admin/jobs", status=401),
    ],
    "BackgroundTasks": [
        Call("POST", "/mails?to=ada", {"message": "sending"}),
        Call("GET", "/mails", ["ada"]),
    ],
    "Middleware": [Call("GET", "/", {"message": "OK"})],
    "Lifespan": [Call("GET", "/run?text=tea", {"text": "TEA"})],
    "Async": [Call("GET", "/lengths", {"alexnet": 7, "lenet": 5})],
    "Errors": [
        Call("GET", "/items/5", {"item_id": 5}),
        Call("GET", "/items/50", {"detail": "ten items an hour"}, status=429),
        Call("GET", "/items/500", {"detail": "there is no such item"}, status=404),
    ],
    "Testing": [Call("POST", "/sum", {"sum": 3}, options={"json": [1, 2]})],
}  # fmt: skip


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
    """Return a function that imports a documented program as a module."""

    def load(name: str, program: str) -> ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text(program)
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize("title", PAIRS)
def test_the_fastapi_program_answers(load: Callable[[str, str], ModuleType], title: str) -> None:
    module = load("in_fastapi", PAIRS[title][0])
    with TestClient(module.app) as client:
        for call in CALLS[title]:
            response = client.request(call.method, call.path, **call.options)
            check(call, 0, response.status_code, response.headers, response.content, response.json)


@pytest.mark.parametrize("title", PAIRS)
def test_the_flask_program_gives_the_same_answers(load: Callable[[str, str], ModuleType], title: str) -> None:
    module = load("in_flask", PAIRS[title][1])
    client = (module.app if hasattr(module, "app") else module.create_app()).test_client()
    for call in CALLS[title]:
        options = dict(call.options)
        if "files" in options:
            parts = {name: (io.BytesIO(data), filename) for name, (filename, data) in options.pop("files").items()}
            options["data"] = options.get("data", {}) | parts
        with client.open(call.path, method=call.method, **options) as response:
            check(call, 1, response.status_code, response.headers, response.data, lambda: response.json)
        if hasattr(module, "pool"):
            module.pool.shutdown()  # waits for the work


def check(call: Call, which: int, status: int, headers: Any, body: bytes, read: Callable[[], Any]) -> None:
    assert status == (call.status if isinstance(call.status, int) else call.status[which]), body
    if call.answer is not None:
        assert read() == call.answer
    if call.path == "/echo":
        assert body == FILE["data"][1]
        assert headers["Content-Type"] == "image/png"
        assert headers["Content-Disposition"] == "attachment; filename=a.png"
    if call.path == "/":
        assert 0 <= float(headers["X-Seconds"]) < 10


@pytest.mark.parametrize("which", [0, 1], ids=["fastapi", "flask"])
def test_the_documented_tests_pass(load: Callable[[str, str], ModuleType], which: int) -> None:
    load("tested", PAIRS["Testing"][which]).test_numbers_are_added()


def test_each_pair_has_calls() -> None:
    titles = re.findall(r"^## (.+)$", DOCUMENT.read_text(), flags=re.MULTILINE)
    assert [*PAIRS] == [*CALLS] == titles[:-1]
    assert titles[-1] == "In this repository"


@pytest.mark.parametrize(("line", "file"), QUOTED)
def test_each_quoted_line_is_in_its_file(line: str, file: str) -> None:
    assert line in (DOCS / file).read_text()


def test_each_row_of_the_table_is_tested() -> None:
    section = DOCUMENT.read_text().partition("## In this repository")[2]
    assert len(QUOTED) == len(re.findall(r"^\| `", section, flags=re.MULTILINE)) > 10
