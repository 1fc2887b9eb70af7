"""Forms as clients and old libraries write them: each is read, or refused with the reason."""

import codecs
import gzip
import io
from collections.abc import Iterator
from typing import IO

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flaskapp.api.forms import CHUNK_SIZE, FormParser
from tests.api.test_caption import STAR
from tests.conftest import ASSETS, Server, assert_error

IMAGE = (ASSETS / "star.png").read_bytes()
BOUNDARY = b"----of-the-test"
TYPE = "multipart/form-data; boundary=----of-the-test"
FILE = b'Content-Disposition: form-data; name="data"; filename="star.png"'
UPLOADS = ["/caption/", "/cv_model/", "/caption_jobs/"]


def form(*parts: tuple[bytes, bytes]) -> bytes:
    """Return a multipart body. A part is a pair of header lines and content."""
    body = b"".join(b"--" + BOUNDARY + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return body + b"--" + BOUNDARY + b"--\r\n"


def post(client: FlaskClient, body: bytes, path: str = "/caption/", content_type: str | None = TYPE) -> TestResponse:
    return client.post(path, data=body, content_type=content_type)


def assert_refused(answer: TestResponse, status: int, *words: str) -> None:
    """Check the error's status, and that its message has these words."""
    assert_error(answer, status)
    message = answer.get_json()["message"]
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("content_type", "words"),
    [
        ("multipart/form-data", ["boundary"]),
        ("multipart/form-data; boundary=", ["boundary"]),
        ('multipart/form-data; boundary=""', ["boundary"]),
        ("multipart/form-data; Boundry=----of-the-test", ["boundary"]),
        ('multipart/form-data; boundary="gr\u00fcn"', ["boundary", "ASCII"]),
        ("multipart/form-data; boundary=another", ["boundary"]),
    ],
)
def test_a_form_with_a_missing_or_wrong_boundary_is_refused(
    client: FlaskClient, content_type: str, words: list[str]
) -> None:
    for path in UPLOADS:
        assert_refused(post(client, form((FILE, IMAGE)), path, content_type), 400, *words)


@pytest.mark.parametrize("size", [5, 40, 100, 3000, -4, -8, -25])
def test_a_truncated_form_is_refused(client: FlaskClient, size: int) -> None:
    """Truncate it in the boundary, the headers, the content and the last boundary."""
    assert_refused(post(client, form((FILE, IMAGE))[:size]), 400, "form")


def test_an_empty_form_is_refused(server: Server) -> None:
    answer = requests.post(server.url + "/caption/", data=b"", headers={"Content-Type": TYPE}, timeout=10)
    assert_error(answer, 400)


def test_a_truncated_form_gets_an_error_that_names_the_part(client: FlaskClient) -> None:
    body = form((FILE, IMAGE), (FILE, IMAGE))
    assert_refused(post(client, body[: len(body) // 2 - 500]), 400, "part 1", "last boundary")
    assert_refused(post(client, body[: len(body) * 3 // 4]), 400, "part 2", "last boundary")
    assert_refused(post(client, body[: len(body) // 2 + 10]), 400, "headers of part 2")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"Content-Disposition: form-data", ["no name"]),
        (b'Content-Disposition: form-data; name=""', ["no name"]),
        (b'Content-Disposition: form-data; name=""; filename="a.png"', ["no name"]),
        (b'Content-Disposition: form-data; filename="a.png"', ["no name"]),
        (b'Content-Disposition: form-data; name="data', ["no name"]),
        (b'Content-Disposition: form-data; name="d\xe4ta"; filename="a.png"', ["name", "UTF-8"]),
        (b"Content-Type: image/png", ["no Content-Disposition"]),
        (b"no header", ["no Content-Disposition"]),
        (b"", ["no headers"]),
        (FILE + b"\r\n" + FILE, ["two Content-Disposition"]),
        (FILE + b"\r\nX-A: " + b"a" * 9000, ["headers of more than 8192 bytes"]),
    ],
)
def test_a_part_without_a_name_is_refused(client: FlaskClient, head: bytes, words: list[str]) -> None:
    for path in UPLOADS:
        assert_refused(post(client, form((head, IMAGE)), path), 400, "Part 1 of the form", *words)
        assert_refused(post(client, form((FILE, IMAGE), (head, IMAGE)), path), 400, "Part 2 of the form", *words)


def test_curl_with_a_part_without_a_name_gets_no_500(server: Server) -> None:
    """`curl -F '=x'` sends a part with an empty name."""
    answer = requests.post(server.url + "/caption/", files=[("", (None, "x"))], timeout=10)
    assert_error(answer, 400)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("K\u00f6ln.png".encode("latin-1"), "K\u00f6ln.png"),
        ("K\u00f6ln.png".encode(), "K\u00f6ln.png"),
        ("\u732b.png".encode(), "\u732b.png"),
    ],
)
def test_a_file_name_may_be_in_latin_1_or_utf_8(client: FlaskClient, name: bytes, expected: str) -> None:
    answer = post(client, form((FILE.replace(b"star.png", name), IMAGE)))
    assert answer.get_json()["results"][0]["input"] == expected


def test_a_file_name_may_be_encoded_by_rfc_5987(client: FlaskClient) -> None:
    head = b"Content-Disposition: form-data; name=data; filename*=UTF-8''K%C3%B6ln.png"
    assert post(client, form((head, IMAGE))).get_json()["results"][0]["input"] == "K\u00f6ln.png"


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP", "deflate, gzip", "made-up"])
def test_a_compressed_body_is_refused_with_accept_encoding(client: FlaskClient, coding: str) -> None:
    uploads = [(path, form((FILE, IMAGE)), TYPE) for path in UPLOADS]
    others = [
        ("/login/", b"username=ada&password=x", "application/x-www-form-urlencoded"),
        ("/login/", b'{"username": "ada", "password": "x"}', "application/json"),
        ("/text_model/", b'{"email": "a@gmail.com", "domain_match": "gmail"}', "application/json"),
        ("/image-to-text", IMAGE, "image/png"),
        ("/image-to-text", b'{"inputs": ""}', "application/json"),
    ]
    for path, body, content_type in uploads + others:
        headers = {"Content-Encoding": coding, "Content-Type": content_type}
        answer = client.post(path, data=gzip.compress(body), headers=headers)
        assert answer.status_code == 415, path
        assert coding.lower() in answer.get_json()["message"]
        assert answer.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("coding", ["gzip", "gzip, chunked"])
def test_a_body_with_a_compressing_transfer_encoding_is_refused(client: FlaskClient, coding: str) -> None:
    """gunicorn passes such a body on compressed."""
    for path in UPLOADS:
        headers = {"Transfer-Encoding": coding, "Content-Type": TYPE}
        answer = client.post(path, data=gzip.compress(form((FILE, IMAGE))), headers=headers)
        assert_refused(answer, 415, "Transfer-Encoding", coding)


def test_a_body_with_the_content_encoding_identity_is_read(client: FlaskClient) -> None:
    headers = {"Content-Encoding": "identity", "Content-Type": TYPE}
    assert client.post("/caption/", data=form((FILE, IMAGE)), headers=headers).get_json()["caption"] == STAR


@pytest.mark.parametrize("header", [b"Content-Transfer-Encoding: base64", b"Content-Encoding: gzip"])
def test_a_part_with_a_transfer_encoding_is_refused(client: FlaskClient, header: bytes) -> None:
    assert_refused(post(client, form((FILE + b"\r\n" + header, IMAGE))), 415, "Part 1", "Encoding")


def test_a_part_with_a_neutral_transfer_encoding_is_read(client: FlaskClient) -> None:
    body = form((FILE + b"\r\nContent-Transfer-Encoding: Binary", IMAGE))
    assert post(client, body).get_json()["caption"] == STAR


@pytest.mark.parametrize("size", [3000, 400_000, 600_000, 5_000_000])
def test_an_image_in_a_text_part_is_no_file_whatever_its_size(client: FlaskClient, size: int) -> None:
    head = b'Content-Disposition: form-data; name="data"'
    answer = post(client, form((head, IMAGE.ljust(size, b"\0"))))
    assert_error(answer, 422, "multipart", "data")
    assert "no filename" in answer.text


def test_a_text_part_that_is_not_utf_8_is_refused_and_named(client: FlaskClient) -> None:
    body = form(
        (b'Content-Disposition: form-data; name="username"', b"ada"),
        (b'Content-Disposition: form-data; name="password"', "p\u00e4ss".encode("latin-1")),
    )
    assert_error(post(client, body, "/login/"), 422, "form", "password")
    config = b'Content-Disposition: form-data; name="config"'
    assert_refused(post(client, form((FILE, IMAGE), (config, b'{"seed": "\xe4"}'))), 400, "config", "UTF-8")
    assert_refused(
        post(client, form((config + b"\r\nContent-Type: text/plain; charset=utf-16", b"{}"))), 400, "Part 1", "UTF-8"
    )


def test_a_text_part_may_be_in_latin_1_if_its_header_says_so(client: FlaskClient) -> None:
    name = b'Content-Disposition: form-data; name="username"', b"ada"
    password = b'Content-Disposition: form-data; name="password"'
    latin_1 = password + b"\r\nContent-Type: text/plain; charset=ISO-8859-1", "p\u00e4ss".encode("latin-1")
    assert post(client, form(name, latin_1), "/login/").status_code == 200
    assert post(client, form(name, (password, "p\u00e4ss".encode())), "/login/").status_code == 200


def test_an_urlencoded_form_that_is_not_utf_8_is_refused(client: FlaskClient) -> None:
    urlencoded = "application/x-www-form-urlencoded"
    assert_refused(post(client, b"username=ada&password=p\xe4ss", "/login/", urlencoded), 400, "UTF-8")
    assert_refused(post(client, IMAGE, "/caption/", urlencoded), 400, "UTF-8", "multipart/form-data")


def test_a_byte_order_mark_before_a_text_part_is_ignored(client: FlaskClient) -> None:
    login = {"username": "ada", "password": "secret"}
    assert client.post("/login/", json=login).status_code == 200
    wrong = b"username=ada&password=wrong"
    for mark in (b"", codecs.BOM_UTF8):
        head = b'Content-Disposition: form-data; name="'
        parts = form((head + b'username"', mark + b"ada"), (head + b'password"', mark + b"wrong"))
        assert post(client, parts, "/login/").status_code == 401
        assert post(client, mark + wrong, "/login/", "application/x-www-form-urlencoded").status_code == 401


def test_an_urlencoded_form_has_a_maximum_number_of_fields(client: FlaskClient) -> None:
    body = b"a=&" * 2**20
    assert_refused(post(client, body, "/login/", "application/x-www-form-urlencoded"), 413, "1000 fields")


def test_a_body_without_a_content_type_is_refused(client: FlaskClient) -> None:
    for path in UPLOADS:
        assert_refused(post(client, IMAGE, path, None), 415, "multipart/form-data")


def test_each_413_names_its_limit(client: FlaskClient) -> None:
    assert_refused(post(client, form((FILE, bytes(17 * 2**20)))), 413, "body", "16 MiB")
    assert_refused(post(client, form(*[(FILE, b"x")] * 1001)), 413, "1000 parts")
    config = b'Content-Disposition: form-data; name="config"'
    for head in (config, config + b'; filename="c.json"'):
        assert_refused(post(client, form((FILE, IMAGE), (head, b"{" + b" " * 600_000))), 413, "JSON", "131072 bytes")


def test_a_file_input_without_a_chosen_file_is_ignored(client: FlaskClient) -> None:
    empty = FILE.replace(b"star.png", b"") + b"\r\nContent-Type: application/octet-stream", b""
    assert post(client, form((FILE, IMAGE), empty)).get_json()["caption"] == STAR
    assert_error(post(client, form(empty)), 422, "multipart", "data")


# The parser reads the body in pieces of this size.


def parse(stream: IO[bytes]) -> list[tuple[str | None, bytes]]:
    parser = FormParser(lambda **_: io.BytesIO())
    _, fields, files = parser.parse(stream, "multipart/form-data", None, {"boundary": BOUNDARY.decode()})
    texts = [(name, text.encode()) for name, text in fields.items(multi=True)]
    return texts + [(file.filename, file.read()) for file in files.values()]


class FewBytes(io.BytesIO):
    """Return at most three bytes at each read, as a slow socket may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(3, size or 3))


def variants() -> Iterator[tuple[str, bytes]]:
    text = b'Content-Disposition: form-data; name="config"', b"{}"
    body = form((FILE, IMAGE[:200]), text)
    yield "the last part is a text", body
    yield "the last part is a file", form(text, (FILE, IMAGE[:200]))
    yield (
        "spaces after the boundaries",
        body.replace(BOUNDARY + b"\r\n", BOUNDARY + b" \t \r\n").replace(b"--\r\n", b"--  \r\n"),
    )
    yield "lines end in LF", body.replace(b"\r\n", b"\n")
    yield "no line end after the last boundary", body.removesuffix(b"\r\n")
    yield "the file contains the boundary", form((FILE, b"\r\n--" + BOUNDARY + b"x\r\n-" + BOUNDARY), text)


@pytest.mark.parametrize(("name", "body"), list(variants()))
def test_a_form_is_parsed_the_same_wherever_its_pieces_end(name: str, body: bytes) -> None:
    expected = parse(io.BytesIO(body))
    assert len(expected) == 2
    assert parse(FewBytes(body)) == expected, name
    preamble = b"\r\n".rjust(CHUNK_SIZE - len(body) - 4, b" ")
    for padding in range(len(body) + 8):
        assert parse(io.BytesIO(b" " * padding + preamble + body)) == expected, f"{name}, {padding}"
