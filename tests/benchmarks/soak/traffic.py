"""Requests of the soak test, each kind with its allowed statuses. One in ten is bad."""

import io
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from urllib.parse import urlsplit

import requests

from tests.benchmarks.process import ROOT
from tests.fuzz.samples import samples

BAD_SHARE = 0.1
TIMEOUT = 60  # seconds
GONE = "hung-up"  # the client or the server closed before an answer
PNG = (ROOT / "tests" / "assets" / "star.png").read_bytes()
IMAGES = sorted(samples().values())
JSON = {"Content-Type": "application/json"}
EMAIL = {"email": "mlops@gmail.com", "domain_match": "gmail"}
GREEDY = {"num_beams": 1}


@dataclass
class Client:
    """One client: its persistent connection and its random numbers."""

    url: str
    random: Random
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str, method: str = "GET") -> str:
        return str(self.session.request(method, self.url + path, timeout=TIMEOUT).status_code)

    def post(self, path: str, **content: object) -> str:
        answer = self.session.post(self.url + path, timeout=TIMEOUT, **content)  # type: ignore[arg-type]
        return str(answer.status_code)

    def post_image(self, path: str, *images: bytes, config: object = None) -> str:
        files = [("data", ("image", io.BytesIO(image))) for image in images]
        return self.post(path, files=files, data=None if config is None else {"config": json.dumps(config)})

    def size(self) -> str:
        return f"/cv_model/?h={self.random.randint(1, 200)}&w={self.random.randint(1, 200)}"

    def some_images(self) -> list[bytes]:
        return self.random.choices(IMAGES, k=self.random.randint(1, 3))

    def upload(self, path: str, share: float, waits: bool) -> str:
        """Send a part of an upload, then disconnect, or close the sending half and wait for an answer."""
        body = b'--x\r\nContent-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n' + PNG + b"\r\n--x--\r\n"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        address = urlsplit(self.url)
        with socket.create_connection((address.hostname, address.port), TIMEOUT) as connection:
            connection.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n")
            connection.sendall(body[: int(share * len(body))])
            if not waits:
                return GONE
            connection.shutdown(socket.SHUT_WR)
            words = connection.recv(4096).decode("latin-1").split()
            return words[1] if words else GONE


@dataclass(frozen=True)
class Kind:
    """One kind of request: how it is sent, and its allowed statuses."""

    name: str
    send: Callable[[Client], str]
    expected: frozenset[str]


def _kind(name: str, expected: str, send: Callable[[Client], str]) -> Kind:
    return Kind(name, send, frozenset(expected.split()))


def _login(client: Client, password: str = "correct horse", **name: str) -> str:
    """Log in with one of 200 names and the same password. The address may be rate limited."""
    username = name.get("name", f"user-{client.random.randrange(200)}")
    return client.post("/login/", json={"username": username, "password": password})


def _cut(client: Client) -> bytes:
    return PNG[: client.random.randrange(len(PNG) - 100)]


def _spoilt(client: Client) -> bytes:
    image = bytearray(client.random.choice(IMAGES))
    for _ in range(20):
        image[client.random.randrange(len(image))] = client.random.randrange(256)
    return bytes(image)


GOOD = (
    _kind("`GET /`", "200", lambda c: c.get("/")),
    _kind("`HEAD /`", "200", lambda c: c.get("/", "HEAD")),
    _kind("`GET /items/`", "200", lambda c: c.get(f"/items/{c.random.randint(-9, 9)}?q=tea")),
    _kind("`GET /restric_items/`", "200", lambda c: c.get("/restric_items/lenet")),
    _kind("`GET /query_items`", "200", lambda c: c.get(f"/query_items?item_id={c.random.randrange(99)}")),
    _kind("`GET /text_model/`", "200", lambda c: c.get("/text_model/?data=mlops@gmail.com")),
    _kind("`POST /text_model/`", "200", lambda c: c.post("/text_model/", json=EMAIL)),
    _kind("`POST /login/`", "200 429", _login),
    _kind("`POST /cv_model/`", "200", lambda c: c.post_image(c.size(), c.random.choice(IMAGES))),
    _kind("`POST /cv_model/`, large", "200", lambda c: c.post_image("/cv_model/?h=1000&w=1000&format=webp", PNG)),
    _kind("`POST /caption/`", "200", lambda c: c.post_image("/caption/", PNG)),
    _kind("`POST /caption/`, greedy", "200", lambda c: c.post_image("/caption/", *c.some_images(), config=GREEDY)),
    _kind("`GET /openapi.json`", "200", lambda c: c.get("/openapi.json")),
    _kind("`GET /swagger-ui`", "200", lambda c: c.get("/swagger-ui")),
)
BAD = (
    _kind("unknown route", "404", lambda c: c.get("/nowhere")),
    _kind("wrong method", "405", lambda c: c.get("/caption/", "DELETE")),
    _kind("no integer", "422", lambda c: c.get("/items/five")),
    _kind("address too long", "414", lambda c: c.get("/items/" + "5" * 5000)),
    _kind("text too long", "422", lambda c: c.post("/text_model/", json=EMAIL | {"email": "a" * 5000})),
    _kind("wrong type", "422", lambda c: c.post("/text_model/", json=EMAIL | {"email": 5})),
    _kind("no JSON", "400", lambda c: c.post("/text_model/", data="{", headers=JSON)),
    _kind("JSON too deep", "400", lambda c: c.post("/text_model/", data="[" * 5000, headers=JSON)),
    _kind("JSON of another type", "415", lambda c: c.post("/text_model/", data="{}")),
    _kind("wrong password", "401 429", lambda c: _login(c, "wrong", name="ada")),
    _kind("password too long", "422 429", lambda c: _login(c, "a" * 2000)),
    _kind("body too large", "413", lambda c: c.post("/text_model/", data=bytes(17 * 2**20), headers=JSON)),
    _kind("image cut short, resized", "415 422", lambda c: c.post_image("/cv_model/", _cut(c))),
    _kind("image cut short, captioned", "415 422", lambda c: c.post_image("/caption/", PNG, _cut(c))),
    _kind("image spoilt, resized", "200 415 422", lambda c: c.post_image("/cv_model/", _spoilt(c))),
    _kind("image spoilt, captioned", "200 415 422", lambda c: c.post_image("/caption/", _spoilt(c), config=GREEDY)),
    _kind("no image", "415", lambda c: c.post_image("/cv_model/", b"<svg/>")),
    _kind("no file", "422", lambda c: c.post("/caption/", data={"data": "text"})),
    _kind("unknown setting", "422", lambda c: c.post_image("/caption/", PNG, config={"beams": 2})),
    _kind("too many beams", "422", lambda c: c.post_image("/caption/", PNG, config={"num_beams": 999})),
    _kind("upload that ends early", f"400 {GONE}", lambda c: c.upload("/cv_model/", c.random.random(), waits=True)),
    _kind("client that leaves in the upload", GONE, lambda c: c.upload("/cv_model/", c.random.random(), waits=False)),
    _kind("client that leaves before its caption", GONE, lambda c: c.upload("/caption/", 1, waits=False)),
)
ADA = _kind("`POST /login/` of ada", "200 429", lambda c: _login(c, name="ada"))  # sent first


def draw(random: Random) -> Kind:
    return random.choice(BAD if random.random() < BAD_SHARE else GOOD)
