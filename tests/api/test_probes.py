import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from flaskapp.captioner import captioner
from flaskapp.errors import ModelUnavailable
from tests.api.test_caption import asset
from tests.conftest import assert_error

LIVE = ["/livez", "/health", "/v2/health/live"]
READY = ["/readyz", "/healthz", "/v2/health/ready"]
OK = {"ready": True, "message": "OK"}
COURSE_S = {
    "prompt": None, "max_length": 16, "min_length": 0, "num_beams": 8, "num_return_sequences": 1, "length_penalty": 1.0,
    "early_stopping": False, "no_repeat_ngram_size": 0, "repetition_penalty": 1.0, "do_sample": False,
    "temperature": 1.0, "top_k": 50, "top_p": 1.0,
}  # fmt: skip


@pytest.fixture
def nothing_loaded(client: FlaskClient) -> FlaskClient:
    """Return a client of an application without a loaded model, as under `flask run`."""
    captioner.close()
    captioner._reset()
    return client


@pytest.mark.parametrize("path", LIVE)
def test_a_running_process_is_alive(nothing_loaded: FlaskClient, path: str) -> None:
    assert nothing_loaded.get(path).get_json() == {"message": "OK", "status-code": 200}
    assert captioner.name == "none", "the liveness probe loads no model"


@pytest.mark.parametrize("path", READY)
def test_the_server_is_ready_with_its_model_and_database(client: FlaskClient, path: str) -> None:
    captioner.load()
    captioner.warm_up()
    assert client.get(path).get_json() == {
        "message": "OK",
        "status-code": 200,
        "model": OK
        | {"name": "embedded", "decoder": "fast", "precision": "fp32", "takes_prompt": False, "defaults": COURSE_S},
        "database": OK,
    }


def test_readyz_shows_the_precision_chosen_by_auto_and_the_reason(make_app: Callable[..., Flask]) -> None:
    client = make_app(CAPTIONER_PRECISION="auto").test_client()
    captioner.load()
    captioner.warm_up()
    model = client.get("/readyz").get_json()["model"]
    assert model["precision"] in ("fp32", "bf16", "int8")
    assert model["precision_reason"].startswith("the CPU has")


def test_the_first_readiness_probe_starts_loading_the_model(nothing_loaded: FlaskClient) -> None:
    answer = nothing_loaded.get("/readyz")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    body = answer.get_json()
    assert (body["code"], body["status"]) == (503, "Service Unavailable")
    assert body["message"] == body["model"]["message"] == "the model is being loaded"
    assert body["model"]["ready"] is False
    assert body["database"] == OK
    for thread in threading.enumerate():
        if thread.name == "load":
            thread.join(60)
    assert nothing_loaded.get("/readyz").status_code == 200


def test_a_model_that_cannot_be_loaded_is_reported_without_its_path(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    client = make_app(CAPTIONER_MODEL=str(tmp_path / "nothing")).test_client()
    client.get("/readyz")
    assert_error(client.post("/caption/", data={"data": asset("star.png")}), 503)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "could not be loaded" in answer.get_json()["model"]["message"]
    assert str(tmp_path) not in answer.text
    assert client.get("/livez").status_code == 200


def test_readyz_warns_of_the_embedded_substitute(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    client = make_app(CAPTIONER_MODEL=None).test_client()
    captioner.load()
    captioner.warm_up()
    answer = client.get("/readyz")
    assert answer.status_code == 200
    model = answer.get_json()["model"]
    assert (model["name"], model["ready"]) == ("embedded", True)
    assert "nlpconnect/vit-gpt2-image-captioning could not be downloaded" in model["message"]


def test_a_named_model_is_not_replaced_while_the_hub_is_unreachable(
    make_app: Callable[..., Flask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    client = make_app(CAPTIONER_MODEL="someone/else").test_client()
    with pytest.raises(ModelUnavailable):
        captioner.load()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["model"] == {
        "name": "none",
        "ready": False,
        "message": "the hub cannot be reached, and someone/else is not in its cache",
    }
    assert client.get("/livez").status_code == 200
    refused = client.post("/caption/", data={"data": asset("star.png")})
    assert_error(refused, 503)
    assert "someone/else" in refused.get_json()["message"]
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_database_that_cannot_be_opened_is_reported_without_its_url(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    client = make_app(DATABASE_URL=f"sqlite:///{tmp_path / 'file' / 'test.db'}").test_client()
    captioner.load()
    captioner.warm_up()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json()["database"] == {
        "ready": False,
        "message": "the database cannot be used at the moment",
    }
    assert answer.get_json()["model"]["ready"] is True
    assert str(tmp_path) not in answer.text


def test_a_hanging_database_does_not_delay_probes(client: FlaskClient, tmp_path: Path) -> None:
    captioner.load()
    captioner.warm_up()
    assert client.post("/login/", json={"username": "ada", "password": "correct horse"}).status_code == 200
    client.application.extensions["accounts"].close()
    locked = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    locked.execute("PRAGMA locking_mode = EXCLUSIVE")  # makes readers wait, too
    locked.execute("BEGIN EXCLUSIVE")
    began = time.monotonic()
    answers = [client.get("/readyz") for _ in range(5)]
    assert time.monotonic() - began < 3, "a query of the database would wait for four seconds"
    locked.close()
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].get_json()["database"]["message"] == "the database does not answer within two seconds"


@pytest.mark.parametrize("path", [*LIVE, *READY, "/metrics"])
def test_probes_need_no_login(make_app: Callable[..., Flask], path: str) -> None:
    client = make_app(REQUIRE_LOGIN=True).test_client()
    captioner.load()
    captioner.warm_up()
    assert client.get(path).status_code == 200
