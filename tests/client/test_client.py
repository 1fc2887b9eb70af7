"""The client against the real server."""

import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import flaskapp.client
from flaskapp.api.caption import CaptionConfig
from flaskapp.client import (
    Client,
    EmailCheck,
    Generation,
    Item,
    LoginRefused,
    Model,
    RequestRefused,
    Status,
    TooBusy,
    UnexpectedAnswer,
)
from flaskapp.database import Database
from flaskapp.tokens import Tokens
from tests.client.scripted import ScriptedServer, answer
from tests.conftest import ASSETS, ROOT, Server

STAR = "a large pink star on a yellow background"
CIRCLE_AND_DIAMOND = "a large red circle left of a small black diamond on a pink background"


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


def test_the_light_endpoints_answer(remote: Client) -> None:
    assert remote.status() == Status("OK", 200)
    assert remote.item(-3) == Item(-3, None)
    assert remote.item(5, "tea & ünïcode") == Item(5, "tea & ünïcode")
    assert remote.restricted_item("lenet") == "lenet"
    assert remote.query_item(5) == 5
    assert remote.is_email("mlops@gmail.com") is True
    assert remote.is_email("mlops") is False
    assert remote.is_email_at("mlops@gmail.com", "hotmail") == EmailCheck(is_email=True, is_domain_match=False)


def test_the_probes_return_the_status_and_the_model(remote: Client) -> None:
    assert remote.live() == Status("OK", 200)
    model = remote.ready()
    assert (model.name, model.note, model.decoder, model.reason, model.takes_prompt) == (
        "embedded", "OK", "fast", None, False
    )  # fmt: skip
    assert (model.precision, model.precision_reason) == ("fp32", None)
    assert model.defaults is not None
    assert (model.defaults["max_length"], model.defaults["num_beams"]) == (16, 8)


def test_an_earlier_server_s_model_has_fewer_attributes() -> None:
    state = {"name": "m", "message": "OK", "ready": True}
    with ScriptedServer([answer(200, {"model": state})]) as server, Client(server.url) as client:
        assert client.ready() == Model("m", "OK")


def test_a_login_is_saved_and_checked(remote: Client) -> None:
    assert remote.login("client-ada", "correct horse") == "login saved"
    assert remote.login("client-ada", "correct horse") == "login saved"
    with pytest.raises(LoginRefused, match="401: this username is saved with another password"):
        remote.login("client-ada", "canary")


def test_an_image_is_resized(remote: Client) -> None:
    resized = remote.resize(ASSETS / "star.png", width=40, height=20)
    assert resized.format == "png"
    assert Image.open(io.BytesIO(resized.content)).size == (40, 20)
    assert remote.resize(ASSETS / "star.png", format="webp").format == "webp"


def test_an_image_may_be_a_path_bytes_or_a_file(remote: Client) -> None:
    path = ASSETS / "star.png"
    answer = remote.caption(path)
    assert (answer.model, answer.best, answer.results[0].input) == ("embedded", STAR, "star.png")
    assert remote.caption(str(path)) == answer
    assert remote.caption(path.read_bytes()).best == STAR
    with path.open("rb") as file:
        assert remote.caption(file) == answer
    file = io.BytesIO(b"before it" + path.read_bytes())
    file.seek(len(b"before it"))
    assert remote.caption(file).best == STAR


def test_an_image_may_come_from_a_pipe(remote: Client) -> None:
    read, write = os.pipe()
    with open(read, "rb") as pipe, open(write, "wb") as end:  # noqa: PTH123
        writer = threading.Thread(target=lambda: (end.write((ASSETS / "star.png").read_bytes()), end.close()))
        writer.start()
        assert remote.caption(pipe).best == STAR
        writer.join()


def test_captions_of_many_images_are_in_order(remote: Client) -> None:
    answer = remote.caption_many([ASSETS / "circle_and_diamond.png", ASSETS / "star.png"], num_return_sequences=2)
    assert [result.best for result in answer.results] == [CIRCLE_AND_DIAMOND, STAR]
    assert [len(result.captions) for result in answer.results] == [2, 2]


def test_captions_have_scores_on_request(remote: Client) -> None:
    (result,) = remote.caption(ASSETS / "star.png", num_beams=1, max_new_tokens=4, scores=True).results
    assert result.captions == ["a large pink star"]
    assert result.scores is not None
    (score,) = result.scores
    assert score.tokens == 4
    assert score.log_probability is not None
    assert -0.5 < score.log_probability < 0
    (result,) = remote.caption(ASSETS / "star.png").results
    assert result.scores is None


def test_the_warning_of_a_server_with_a_substitute_is_passed_on(remote: Client) -> None:
    assert remote.caption(ASSETS / "star.png").warning is None
    captions = {"model": "embedded", "results": [{"input": "x", "captions": ["a star"]}], "warning": "a substitute"}
    with ScriptedServer([answer(200, captions)]) as server, Client(server.url) as client:
        assert client.caption(b"image").warning == "a substitute"


@pytest.mark.parametrize("scores", [[], None, [{"tokens": 5}], [{"log_probability": -1, "tokens": "many"}], 7])
def test_invalid_scores_are_an_unexpected_answer(scores: object) -> None:
    captions = {"model": "m", "results": [{"input": "x", "captions": ["a star"], "scores": scores}]}
    with (
        ScriptedServer([answer(200, captions)]) as server,
        Client(server.url) as client,
        pytest.raises(UnexpectedAnswer),
    ):
        client.caption(b"image")


def test_a_prompt_for_a_model_that_takes_no_text_is_refused_and_named(remote: Client) -> None:
    with pytest.raises(RequestRefused, match=r"422: multipart\.config\.prompt: This model takes no text\."):
        remote.caption(ASSETS / "star.png", prompt="a photograph of")


def test_the_same_open_file_may_be_sent_twice(remote: Client) -> None:
    with (ASSETS / "star.png").open("rb") as file:
        answer = remote.caption_many([file, file])
    assert [result.best for result in answer.results] == [STAR, STAR]


def test_a_single_image_instead_of_a_list_is_refused(remote: Client) -> None:
    with (ASSETS / "star.png").open("rb") as file:
        for single in (str(ASSETS / "star.png"), b"image", file):
            with pytest.raises(TypeError, match="a list of images is meant"):
                remote.caption_many(single)  # type: ignore[arg-type]


def test_threads_share_a_client(remote: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(remote.caption, [ASSETS / "star.png", ASSETS / "circle_and_diamond.png"] * 8))
    assert [answer.best for answer in answers] == [STAR, CIRCLE_AND_DIAMOND] * 8


@pytest.mark.parametrize(
    "name", ['"quoted".png', "new\nline.png", "größe 🔑.png", b"\xff.png".decode(errors="surrogateescape")]
)
def test_any_file_name_can_be_sent(remote: Client, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes((ASSETS / "star.png").read_bytes())
    assert remote.caption(tmp_path / name).best == STAR


def test_a_refused_field_is_named(remote: Client) -> None:
    with pytest.raises(RequestRefused) as refused:
        remote.caption(ASSETS / "star.png", num_beams=1000)
    assert refused.value.status == 422
    assert refused.value.errors["multipart"]["config"].keys() == {"num_beams"}
    assert str(refused.value).startswith("422: multipart.config.num_beams: Must be ")


def test_a_refused_image_is_named_by_its_index(remote: Client) -> None:
    with pytest.raises(RequestRefused, match=r"422: multipart\.data\.1: The png image is broken"):
        remote.caption_many([ASSETS / "star.png", (ASSETS / "star.png").read_bytes()[:3000]])
    with pytest.raises(RequestRefused, match="415: this is not an image"):
        remote.resize(ROOT / "README.md")


def test_a_missing_file_is_a_file_not_found_error(remote: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        remote.caption_many([ASSETS / "star.png", tmp_path / "missing.png"])


def test_a_login_is_sent_to_the_server(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_REGISTRATION="open")
    with Client(server.url) as client:
        client.login("Zoë 🔑", "pässword 密码")
        with pytest.raises(LoginRefused, match="401: log in with a saved username and its password"):
            client.caption(ASSETS / "star.png")
    with Client(server.url, auth=("Zoë 🔑", "pässword 密码")) as client:
        assert client.caption(ASSETS / "star.png").best == STAR
    with Client(server.url, auth=("Zoë 🔑", "canary")) as client, pytest.raises(LoginRefused) as refused:
        client.is_email("a")
    assert "canary" not in repr(client) + repr(refused.value) + str(refused.value)


def test_a_token_takes_the_place_of_a_login(start_server: Callable[..., Server], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'server.db'}"
    server = start_server("--workers", "1", FLASKAPP_REQUIRE_LOGIN="true", FLASKAPP_DATABASE_URL=url)
    database = Database(url)
    token = Tokens(database).create("ci")
    database.close()
    with Client(server.url, token=token) as client:
        assert client.caption(ASSETS / "star.png").best == STAR
        assert client.submit_job(ASSETS / "star.png").total == 1
        assert token not in repr(client)
    refusal = "401: the API token is unknown, revoked or expired"
    with Client(server.url, token="canary") as client, pytest.raises(LoginRefused, match=refusal) as refused:
        client.is_email("a")
    assert "canary" not in repr(client) + repr(refused.value) + str(refused.value)


@pytest.mark.parametrize("token", ["", "canary 🔑", "canary\r\nX: y", "can ary"])
def test_an_invalid_token_is_refused_and_not_quoted(token: str) -> None:
    with pytest.raises(ValueError, match="the token must be ASCII without spaces") as refused:
        Client("http://localhost", token=token)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(("url", "auth"), [("http://localhost", ("ada", "x")), ("http://ada:x@localhost", None)])
def test_a_token_beside_a_login_is_refused(url: str, auth: tuple[str, str] | None) -> None:
    with pytest.raises(ValueError, match="give a login or a token, not both"):
        Client(url, auth=auth, token="canary")


def test_a_request_to_a_server_without_a_model_is_not_retried(
    start_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", FLASKAPP_CAPTIONER_MODEL=str(tmp_path / "nothing"))
    with Client(server.url) as client, pytest.raises(TooBusy, match="503: there is no captioning model") as refused:
        client.caption(ASSETS / "star.png")
    assert refused.value.retry_after == 60


def test_a_large_file_is_streamed(server: Server, tmp_path: Path) -> None:
    with (tmp_path / "large.bin").open("wb") as file:
        file.truncate(2**30)
    command = (
        "import resource, sys; from flaskapp.client import Client, ClientError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: Client(sys.argv[1], retries=0).resize(sys.argv[2])\n"
        "except ClientError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    out = subprocess.run(
        [sys.executable, "-c", command, server.url, str(tmp_path / "large.bin")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert out[0].startswith("413: ")
    assert int(out[1]) < 32 * 1024, "kilobytes"


def test_importing_the_client_imports_neither_torch_nor_the_application() -> None:
    command = "import sys, flaskapp.client; print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    imported = set(out.split())
    assert "requests" in imported
    assert not imported & {"torch", "transformers", "cv2", "numpy", "PIL", "flask", "sqlalchemy", "flaskapp.api"}


def test_the_settings_equal_the_server_s() -> None:
    assert Generation.__annotations__.keys() == CaptionConfig().fields.keys()


def test_all_exported_names_exist_and_are_sorted() -> None:
    assert flaskapp.client.__all__ == sorted(flaskapp.client.__all__)
    assert all(hasattr(flaskapp.client, name) for name in flaskapp.client.__all__)
