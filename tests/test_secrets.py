"""A password sent in every way, right, wrong and malformed, appears nowhere."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import requests

from tests.conftest import ROOT, Server, clean_environment

CANARY = "canary-in-the-coal-mine"


def send_in_every_way(url: str) -> list[requests.Response]:
    login, model = url + "/login/", url + "/text_model/?data=a"
    right = {"username": "ada", "password": CANARY}
    answers = [requests.post(login, timeout=30, **{way: right}) for way in ("json", "data", "params")]
    for password in (CANARY + "?", CANARY * 100):
        wrong = {"username": "ada", "password": password}
        answers += [requests.post(login, timeout=30, **{way: wrong}) for way in ("json", "data")]
    answers += [
        requests.post(login, json={"username": "ada", "password": [CANARY]}, timeout=30),
        requests.post(login, json={"username": 5, "password": CANARY}, timeout=30),
        requests.post(
            login, data=f'{{"password": "{CANARY}"', headers={"Content-Type": "application/json"}, timeout=30
        ),
        requests.post(login, data=f"password={CANARY}", headers={"Content-Type": "text/plain"}, timeout=30),
        requests.post(login, params={"username": "ada", "passwort": CANARY}, timeout=30),
        requests.get(login, params=right, timeout=30),
        requests.get(url + "/nowhere", params=right, auth=("ada", CANARY), timeout=30),
        requests.get(model, auth=("ada", CANARY), timeout=30),
        requests.get(model, auth=("ada", CANARY + "?"), timeout=30),
        requests.get(model, auth=("nobody", CANARY), timeout=30),
        requests.get(model, auth=("ada", CANARY * 45), timeout=30),
        requests.get(model, auth=("ada", CANARY * 1000), timeout=30),  # a header too long for gunicorn
        requests.get(model, headers={"Authorization": f"Basic {CANARY}"}, timeout=30),
        requests.post(url + "/text_model/", json={}, auth=("ada", CANARY), timeout=30),
        requests.get(model, headers={"Authorization": f"Bearer {CANARY}"}, timeout=30),
        requests.get(model, headers={"Authorization": f"bearer {CANARY}="}, timeout=30),
        requests.get(model, headers={"Authorization": f"Bearer user={CANARY}"}, timeout=30),
        requests.get(model, headers={"Authorization": f"Bearer {CANARY * 1000}"}, timeout=30),
    ]
    answers += [requests.get(model, auth=("ada", CANARY + "!"), timeout=30) for _ in range(30)]
    answers += [requests.post(login, json=right, timeout=30) for _ in range(30)]
    return answers


def test_no_answer_log_file_or_document_contains_the_password(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    database = {"FLASKAPP_DATABASE_URL": f"sqlite:///{tmp_path / 'data' / 'test.db'}"}
    server = start_server(FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_REGISTRATION="open", **database)
    answers = send_in_every_way(server.url)
    assert {answer.status_code for answer in answers} == {200, 400, 401, 404, 405, 415, 422, 429, 431}
    command = [Path(sys.executable).with_name("flask"), "--app", "wsgi", "users", "add"]
    shown = [
        subprocess.run(
            [*command, name], cwd=ROOT, env=clean_environment() | database, input=CANARY, text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ).stdout
        for name in ("grace", "ada")
    ]  # fmt: skip
    assert "grace is saved" in shown[0]
    assert "'ada' is saved already" in shown[1]
    spec = requests.get(server.url + "/openapi.json", timeout=30).text
    server.stop()
    server.close()
    kept = [file.read_bytes().decode(errors="replace") for file in (tmp_path / "data").iterdir()]
    for text in [*(answer.text + str(answer.headers) for answer in answers), *shown, spec, *kept, *server.lines]:
        assert "canary" not in text
