import pytest
from flask.testing import FlaskClient

from tests.conftest import assert_error


def test_the_root_says_ok(client: FlaskClient) -> None:
    assert client.get("/").get_json() == {"message": "OK", "status-code": 200}


@pytest.mark.parametrize(
    "path",
    ["/items/5", "/restric_items/lenet", "/query_items?item_id=5", "/text_model/?data=a", "/openapi.json",
     "/swagger-ui", "/redoc"],
)  # fmt: skip
def test_a_trailing_slash_never_matters(client: FlaskClient, path: str) -> None:
    route, question_mark, query = path.partition("?")
    other = route.removesuffix("/") if route.endswith("/") else route + "/"
    answers = [client.get(each + question_mark + query) for each in (route, other)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].data == answers[1].data


@pytest.mark.parametrize("path", ["/login", "/text_model", "/cv_model", "/caption"])
def test_a_trailing_slash_never_matters_to_a_post(client: FlaskClient, path: str) -> None:
    """Nothing is sent, so that each says what it misses; a redirect or a 404 would not."""
    assert [client.post(each).status_code for each in (path, path + "/")] == [422, 422]


@pytest.mark.parametrize("path", ["/", "/items/5", "/query_items?item_id=5", "/swagger-ui", "/redoc", "/openapi.json"])
def test_head_works_wherever_get_does(client: FlaskClient, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.content_length == client.get(path).content_length


def test_an_unknown_path_and_a_wrong_method_have_the_shape_of_all_errors(client: FlaskClient) -> None:
    assert_error(client.get("/nowhere"), 404)
    assert_error(client.get("/items/5/6"), 404)
    assert_error(client.post("/"), 405)
    assert_error(client.get("/caption/"), 405)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [("GET", "/nowhere", "there is nothing at this address"),
     ("GET", "/docs/assets/nothing.js", "there is nothing at this address"),
     ("POST", "/", "this address takes GET and HEAD"),
     ("GET", "/caption/", "this address takes POST"),
     ("PUT", "/text_model/", "this address takes GET, HEAD and POST")],
)  # fmt: skip
def test_an_unknown_path_and_a_wrong_method_say_so_in_words(
    client: FlaskClient, method: str, path: str, message: str
) -> None:
    assert client.open(path, method=method).get_json()["message"] == message


@pytest.mark.parametrize(("path", "methods"), [("/", {"GET", "HEAD", "OPTIONS"}), ("/caption/", {"POST", "OPTIONS"})])
def test_a_wrong_method_is_told_the_right_ones(client: FlaskClient, path: str, methods: set[str]) -> None:
    answer = client.open(path, method="TRACE")
    assert_error(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == methods


def test_a_bug_is_a_500_that_tells_nothing(client: FlaskClient) -> None:
    client.application.add_url_rule("/bug", view_func=lambda: 1 // 0)
    answer = client.get("/bug")
    assert_error(answer, 500)
    assert "ZeroDivisionError" not in answer.text
