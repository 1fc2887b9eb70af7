"""The course's application in plain Flask and with flask-smorest, started as users start them."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import requests
from PIL import Image

from tests.conftest import ASSETS, ROOT, Server

PLAIN, SMOREST = "plain_flask", "with_smorest"
LINES = 60  # of plain_flask.py, without imports
STAR = "a large pink star on a yellow background"
EMAIL = {"email": "mlops@gmail.com", "domain_match": "gmail"}


@pytest.fixture(scope="module", params=[PLAIN, SMOREST])
def url(request: pytest.FixtureRequest, start_server: Callable[..., Server]) -> str:
    server: Server = start_server(
        command=f"flask --app examples.{request.param} run --port {{port}}", ready="Running on"
    )
    return server.url


def upload(*names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("data", (name, (ASSETS / name).read_bytes())) for name in names]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", {"message": "OK", "status-code": 200}),
        ("/items/5", {"item_id": 5}),
        ("/items/-3?q=tea", {"item_id": -3, "q": "tea"}),
        ("/restric_items/lenet", {"item_id": "lenet"}),
        ("/query_items?item_id=-5", {"item_id": -5}),
        (
            "/text_model/?data=mlops@gmail.com",
            {"input": "mlops@gmail.com", "message": "OK", "status-code": 200, "is_email": True},
        ),
    ],
)
def test_each_get_gives_the_course_s_answer(url: str, path: str, answer: dict[str, Any]) -> None:
    response = requests.get(url + path, timeout=30)
    assert (response.status_code, response.json()) == (200, answer)


def test_a_login_is_saved_once(url: str) -> None:
    def login(password: str) -> requests.Response:
        return requests.post(f"{url}/login/", data={"username": "ada", "password": password}, timeout=30)

    assert login("secret").json() == "login saved"
    assert login("secret").json() == "login saved"
    assert login("another").status_code == 401


def test_an_email_is_checked(url: str) -> None:
    answer = requests.post(f"{url}/text_model/", json=EMAIL, timeout=30).json()
    assert answer == {
        "input": EMAIL, "message": "OK", "status-code": 200, "is_email": True, "is_domain_match": True,
    }  # fmt: skip


def test_an_image_is_resized(url: str) -> None:
    response = requests.post(f"{url}/cv_model/?h=20&w=30", files=upload("star.png"), timeout=30)
    assert response.headers["Content-Disposition"] == "attachment; filename=image_resize.png"
    with Image.open(io.BytesIO(response.content)) as image:
        assert (image.format, image.size) == ("PNG", (30, 20))


def test_images_are_captioned(url: str) -> None:
    files = upload("star.png", "circle_and_diamond.png")
    config = {"config": json.dumps({"num_beams": 4, "num_return_sequences": 2})}
    answer = requests.post(f"{url}/caption/", files=files, data=config, timeout=120).json()
    assert (answer["message"], answer["status-code"], answer["model"]) == ("OK", 200, "embedded")
    assert answer["caption"] == STAR
    assert [result["input"] for result in answer["results"]] == ["star.png", "circle_and_diamond.png"]
    assert [len(result["captions"]) for result in answer["results"]] == [2, 2]


@pytest.mark.parametrize(
    ("method", "path", "options", "statuses", "named"),
    [
        ("GET", "/items/foo", {}, {404}, ""),
        ("GET", "/restric_items/vgg", {}, {404, 422}, ""),
        ("GET", "/query_items?item_id=x", {}, {422}, "item_id"),
        ("GET", "/query_items", {}, {422}, "item_id"),
        ("GET", "/text_model/", {}, {400, 422}, ""),
        ("POST", "/login/", {"data": {"username": "eve"}}, {400, 422}, ""),
        ("POST", "/text_model/", {"json": EMAIL | {"domain_match": "example"}}, {422}, "domain_match"),
        ("POST", "/text_model/", {"json": [1]}, {422}, ""),
        ("POST", "/text_model/", {"data": "{", "headers": {"Content-Type": "application/json"}}, {400}, ""),
        ("POST", "/cv_model/?h=0", {"files": upload("star.png")}, {422}, "h"),
        ("POST", "/cv_model/?w=1e3", {"files": upload("star.png")}, {422}, "w"),
        ("POST", "/cv_model/", {}, {400, 422}, ""),
        ("POST", "/cv_model/", {"files": {"data": b"no image"}}, {415}, "image"),
        ("POST", "/caption/", {"files": {"data": b"no image"}}, {415}, "image"),
        ("POST", "/caption/", {}, {422}, "data"),
        ("POST", "/caption/", {"files": upload("star.png"), "data": {"config": "{"}}, {400, 422}, "config"),
        ("POST", "/caption/", {"files": upload("star.png"), "data": {"config": "[1]"}}, {400, 422}, "config"),
        ("POST", "/caption/", {"files": upload("star.png"), "data": {"config": '{"beams": 1}'}}, {422}, "beams"),
        ("POST", "/caption/", {"files": upload("star.png"), "data": {"config": '{"num_beams": "x"}'}}, {422}, "beams"),
        ("POST", "/caption/", {"files": upload("star.png"), "data": {"config": '{"num_beams": 99}'}}, {422}, "beams"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_json_error_that_names_the_field(
    url: str, method: str, path: str, options: dict[str, Any], statuses: set[int], named: str
) -> None:
    response = requests.request(method, url + path, timeout=60, **options)
    assert response.status_code in statuses, response.text
    assert named in str(response.json())


def test_plain_flask_has_at_most_sixty_lines() -> None:
    text = (ROOT / "examples" / f"{PLAIN}.py").read_text().partition('"""\n')[2]
    code = [line for line in text.splitlines() if line and not line.startswith(("import ", "from "))]
    assert len(code) <= LINES


def test_flask_smorest_documents_every_endpoint(start_server: Callable[..., Server]) -> None:
    server = start_server(command=f"flask --app examples.{SMOREST} run --port {{port}}", ready="Running on")
    paths = requests.get(f"{server.url}/openapi.json", timeout=30).json()["paths"]
    assert sum(len(item.keys() & {"get", "post"}) for item in paths.values()) == 9
