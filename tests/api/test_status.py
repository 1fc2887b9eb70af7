import socket
from http.client import HTTPResponse
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from tests.conftest import Server, assert_error


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
    assert answers[0].data == answers[1].data.replace(b"../", b""), "equal except for relative URLs"


@pytest.mark.parametrize("path", ["/login", "/text_model", "/cv_model", "/caption"])
def test_a_trailing_slash_never_matters_for_post(client: FlaskClient, path: str) -> None:
    """Without input each answers which field is missing; a redirect or a 404 would not."""
    assert [client.post(each).status_code for each in (path, path + "/")] == [422, 422]


EXAMPLES = {
    "item_id": "5",
    "name": "embedded",
    "job_id": "0b6ee9d2-6a4d-4bb6-9a5c-7f1d3c0a8e55",
    "path": "a/b.js",
    "asset": "redoc.js",
    "filename": "redoc.css",
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_a_trailing_slash_never_matters_for_any_method_of_any_route(client: FlaskClient, method: str) -> None:
    rules = [rule for rule in client.application.url_map.iter_rules() if rule.rule != "/"]
    assert len(rules) > 20
    for rule in rules:
        _, path = rule.build(EXAMPLES, append_unknown=False) or ("", "")
        route = path.removesuffix("/")
        answers = [client.open(each, method=method, buffered=True) for each in (route, route + "/")]
        assert answers[0].status_code == answers[1].status_code, (method, rule)
        assert answers[0].headers.get("Allow") == answers[1].headers.get("Allow"), (method, rule)
        if method not in (rule.methods or set()) | {"OPTIONS"}:
            assert answers[0].status_code == 405 or _is_taken(client, rule.rule, method), (method, rule)


def _is_taken(client: FlaskClient, path: str, method: str) -> bool:
    """Return whether another rule has this path and method."""
    return any(rule.rule == path and method in (rule.methods or ()) for rule in client.application.url_map.iter_rules())


@pytest.mark.parametrize("path", ["/", "/items/5", "/query_items?item_id=5", "/swagger-ui", "/redoc", "/openapi.json"])
def test_head_works_wherever_get_does(client: FlaskClient, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.content_length == client.get(path).content_length


def test_an_unknown_path_and_a_wrong_method_have_the_shape_of_errors(client: FlaskClient) -> None:
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
def test_an_unknown_path_and_a_wrong_method_have_messages(
    client: FlaskClient, method: str, path: str, message: str
) -> None:
    assert client.open(path, method=method).get_json()["message"] == message


@pytest.mark.parametrize(("path", "methods"), [("/", {"GET", "HEAD", "OPTIONS"}), ("/caption/", {"POST", "OPTIONS"})])
def test_a_wrong_method_gets_an_allow_header(client: FlaskClient, path: str, methods: set[str]) -> None:
    answer = client.open(path, method="TRACE")
    assert_error(answer, 405)
    assert set(answer.headers["Allow"].split(", ")) == methods


def test_a_bug_is_a_500_without_details(client: FlaskClient) -> None:
    client.application.add_url_rule("/bug", view_func=lambda: 1 // 0)
    answer = client.get("/bug")
    assert_error(answer, 500)
    assert "ZeroDivisionError" not in answer.text


# Odd request targets.


def ask(server: Server, target: bytes, method: bytes = b"GET") -> tuple[int, str]:
    """Return the status and the Location of an answer."""
    address = urlsplit(server.url)
    request = method + b" " + target + b" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as sock:
        sock.sendall(request)
        answer = HTTPResponse(sock, method=method.decode())
        answer.begin()
        answer.read()
    return answer.status, answer.headers.get("Location", "")


TARGETS = [
    b"//", b"///", b"//x", b"//evil.example", b"//evil.example/", b"//evil.example/%2e%2e", b"//evil.example//docs",
    b"/items//5", b"/caption//", b"//caption/", b"/docs//", b"/docs/assets//evil.example", b"/docs//evil.example",
    b"*", b"http://evil.example/nowhere", b"http://evil.example//items//5", b"http://", b"http:/x",
    b"http://[", b"mailto:x",
    b"/%00", b"/items/%00", b"/docs/assets/%00", b"/demo/static/%00.js", b"/caption_jobs/%00",
    b"/%2F", b"/%2F%2Fevil.example", b"/items/5%2F6", b"/docs%2F", b"/docs/assets/%2e%2e%2fdocs.py",
    b"/%5C%5Cevil.example",
    b"/items/%", b"/items/%zz", b"/items/%ff", b"/%", b"/%f", b"/\xff", b"/\\evil.example", b"\\evil.example", b"livez",
    b"?", b"#", b"/#", b"/../livez", b"/./livez", b"/.", b"/..", b"/livez;x", b"/" + b"a/" * 2000, b"/" + b"/" * 4000,
    b"/docs/assets/" + b"a" * 4000, b"/docs/static/" + b"a" * 300, b"/docs/assets/redoc", b"/docs/assets/",
    b"/" + b"a" * 5000,
    b"/items/5?q=%", b"/items/5?q=%ff", b"/items/5?" + b"&" * 3500, b"/?[",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: repr(target[:20]))
def test_an_odd_request_target_causes_no_server_error_and_no_redirect_elsewhere(server: Server, target: bytes) -> None:
    for method in (b"GET", b"HEAD", b"OPTIONS", b"POST", b"CONNECT"):
        status, location = ask(server, target, method)
        assert status in (200, 302, 400, 404, 405, 414, 422, 501), (method, status)
        assert location in ("", "swagger-ui", "../swagger-ui"), (method, location)


@pytest.mark.parametrize(
    ("target", "status"),
    [(b"*", 400), (b"//", 404), (b"//livez", 404), (b"/%2Flivez", 404), (b"/docs%2F/", 404),
     (b"/items//5", 404), (b"/caption//", 404), (b"/%00", 404), (b"/items/5%2F6", 404), (b"//x", 404),
     (b"http://evil.example/livez", 200), (b"/" + b"a" * 5000, 414)],
)  # fmt: skip
def test_an_odd_request_target_gets_the_right_status(server: Server, target: bytes, status: int) -> None:
    assert ask(server, target)[0] == status
