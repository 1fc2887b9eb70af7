"""Images that the embedded model knows, as clients of other APIs send them."""

import base64

from tests.conftest import ASSETS

STAR = "a large pink star on a yellow background"
CIRCLE_AND_DIAMOND = "a large red circle left of a small black diamond on a pink background"


def file(name: str) -> bytes:
    return (ASSETS / name).read_bytes()


def base64_of(name: str) -> str:
    return base64.b64encode(file(name)).decode()


def data_url(name: str) -> str:
    return f"data:image/png;base64,{base64_of(name)}"
