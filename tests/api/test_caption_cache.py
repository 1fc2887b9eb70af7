"""CAPTIONER_CACHE_MB over HTTP, with the model in the engine process."""

import base64
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import requests
from flask import Flask

from tests.api.test_caption import CIRCLE_AND_DIAMOND, STAR
from tests.conftest import ASSETS, Server, assert_error

STAR_FILE = (ASSETS / "star.png").read_bytes()


def caption(server: Server, name: str = "star.png", more: bytes = b"", config: str = "{}") -> requests.Response:
    files = {"data": (name, (ASSETS / name).read_bytes() + more), "config": (None, config)}
    return requests.post(server.url + "/caption/", files=files, timeout=60)


def count(server: Server, metric: str) -> float:
    text = requests.get(server.url + "/metrics", timeout=30).text
    return sum(map(float, re.findall(rf"^{metric}(?:\{{.*?\}})? (\S+)$", text, flags=re.MULTILINE)))


def test_repeated_files_are_answered_from_the_cache_and_counted(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "2", FLASKAPP_CAPTIONER_CACHE_MB="1")
    made, hits = "flaskapp_captioner_images_total", "flaskapp_captioner_cache_hits_total"
    first = caption(server)
    before = count(server, made)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: caption(server), range(8)))
    assert {answer.text for answer in answers} == {first.text}
    assert first.json()["caption"] == STAR
    assert (count(server, made), count(server, hits)) == (before, 8), "all web workers share the cache"
    timing = answers[0].headers["Server-Timing"]
    assert timing.startswith("cache;dur="), timing
    assert "decode" not in timing, "a hit decodes no image"
    others = [
        caption(server, "circle_and_diamond.png"),
        caption(server, more=b"\0"),  # another file with the same pixels
        caption(server, config='{"num_beams": 2}'),
        caption(server, config='{"do_sample": true, "num_beams": 1}'),
        caption(server, config='{"do_sample": true, "num_beams": 1}'),
    ]
    assert [answer.json()["caption"] for answer in others[:3]] == [CIRCLE_AND_DIAMOND, STAR, STAR]
    assert (count(server, made), count(server, hits)) == (before + 5, 8)


def test_an_unreadable_image_is_not_cached(make_app: Callable[..., Flask]) -> None:
    client = make_app(CAPTIONER_CACHE_MB=1).test_client()
    body = {"data": [base64.b64encode(file).decode() for file in (STAR_FILE, STAR_FILE[:400])]}
    for _ in range(2):
        answer = client.post("/caption/", json=body | {"partial": True}).get_json()
        assert answer["results"][0]["captions"] == [STAR]
        assert answer["results"][1].keys() == {"input", "error"}
        assert_error(client.post("/caption/", json=body), 422, "json", "data", "1")


def test_without_the_setting_nothing_is_cached(server: Server) -> None:
    made = "flaskapp_captioner_images_total"
    before = count(server, made)
    for _ in range(2):
        caption(server)
    assert count(server, made) >= before + 2, "jobs of other tests may add images"
