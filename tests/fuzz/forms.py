"""A Hypothesis strategy for forms with valid and invalid parts, boundaries, headers and encodings."""

import codecs
import gzip
from dataclasses import dataclass, field

from hypothesis import strategies as st

from tests.conftest import ASSETS

BOUNDARY = "----of-the-test"
IMAGE = (ASSETS / "star.png").read_bytes()
EDGE = 2**16  # bytes that the parser reads at a time
JSON = b'{"num_beams": 1, "max_length": 4}'

DISPOSITIONS = (
    'form-data; name="{name}"; filename="a.png"',
    'form-data; name="{name}"',
    "form-data; name={name}; filename=a.png",
    "form-data; name=\"{name}\"; filename*=UTF-8''K%C3%B6ln.png",
    'form-data; name="{name}"; filename="K\u00f6ln.png"',
    'form-data; name="{name}"; filename=""',
    'form-data; name="{name}"; filename="../\\0\\"x"',
    'form-data; name="{name}',
    "form-data; filename=a.png",
    "form-data",
    "attachment",
    "",
)
NAMES = ("data", "data", "config", "data[]", "data[0]", "data[1]", "config[]", "", "image", "d\u00e4ta", "data\\0")
CONTENTS = (
    IMAGE,
    IMAGE[:3000],
    b"",
    b"\0",
    JSON,
    codecs.BOM_UTF8 + JSON,
    b"null",
    b" ",
    b"{",
    b'{"seed": null}',
    b"\xff\xfe{\0}\0",
    b'{"temperature": 0}',
    f"--{BOUNDARY}x".encode(),
    b"\r\n--",
    b"\r",
    b"\n",
    b"text " * 200_000,
)
HEADERS = (
    b"Content-Type: image/png",
    b"Content-Type: text/plain; charset=utf-16",
    b"Content-Type: text/plain; charset=iso-8859-1",
    b"Content-Type: application/json",
    b"Content-Type: multipart/mixed; boundary=x",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: binary",
    b"Content-Encoding: gzip",
    b"Content-Length: 5",
    b"no colon",
    b": no name",
    b"X-A: " + b"a" * 9000,
    b"X-A: a\r\n continued",
    b"\xff: \xff",
    b'Content-Disposition: form-data; name="data"',
)
TYPES = (
    f"multipart/form-data; boundary={BOUNDARY}",
    f'Multipart/Form-Data; charset=utf-8; boundary="{BOUNDARY}"',
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=another",
    "multipart/form-data; boundary=gr\u00fcn",
    f"multipart/mixed; boundary={BOUNDARY}",
    "application/x-www-form-urlencoded",
    "application/json",
    "text/plain",
    "",
)
CODINGS = ("identity", "gzip", "br", "deflate, gzip", "\u00e4")


@dataclass
class Form:
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    is_whole: bool = True  # well-formed, with the file `data`


def mostly(usual: object, others: tuple[object, ...]) -> st.SearchStrategy[object]:
    """Draw a usual value three times in four."""
    return st.sampled_from([usual] * (3 * len(others)) + list(others))


@st.composite
def parts(draw: st.DrawFn) -> bytes:
    """Draw the head and content of a part."""
    disposition = str(draw(mostly(DISPOSITIONS[0], DISPOSITIONS))).format(name=draw(st.sampled_from(NAMES)))
    lines = [f"Content-Disposition: {disposition}".encode(draw(st.sampled_from(["utf-8", "latin-1"])))]
    lines += draw(st.lists(st.sampled_from(HEADERS), max_size=2)) if draw(st.booleans()) else []
    return b"\r\n".join(draw(st.permutations(lines))) + b"\r\n\r\n" + draw(st.sampled_from(CONTENTS))


@st.composite
def forms(draw: st.DrawFn) -> Form:
    found = draw(st.lists(parts(), max_size=4))
    has_file = draw(st.booleans())
    if has_file:
        found = [b'Content-Disposition: form-data; name="data"; filename="a.png"\r\n\r\n' + IMAGE]
    spaces, line_end = draw(mostly(b"", (b" ", b"\t  "))), draw(mostly(b"\r\n", (b"\n",)))
    delimiter = b"--" + BOUNDARY.encode()
    body = b"".join(delimiter + spaces + b"\r\n" + part + b"\r\n" for part in found)
    last = draw(mostly(delimiter + b"--\r\n", (delimiter + b"--", delimiter + b"--  \r\nand more", delimiter, b"")))
    preamble = b" " * max(0, EDGE - len(body) - draw(st.integers(0, 60))) if draw(st.booleans()) else b""
    body = (preamble + b"\r\n" if preamble else b"") + body + last
    is_whole = has_file and last.startswith(delimiter + b"--")
    if line_end == b"\n":
        body, is_whole = body.replace(b"\r\n", line_end), False  # also changes line ends in the image
    if draw(mostly(False, (True,))):
        body, is_whole = body[: draw(st.integers(0, len(body)))], False
    content_type = str(draw(mostly(TYPES[0], TYPES)))
    headers = {"Content-Type": content_type} if content_type else {}
    is_whole &= content_type in TYPES[:2]
    if draw(mostly(False, (True,))):
        headers["Content-Encoding"] = draw(st.sampled_from(CODINGS))
        is_whole &= headers["Content-Encoding"] == "identity"
        body = gzip.compress(body) if "gzip" in headers["Content-Encoding"] else body
    return Form(body, headers, is_whole)
