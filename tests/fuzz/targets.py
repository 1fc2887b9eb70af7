"""Hypothesis strategies: what a client may write instead of a path, and what a proxy may send as a prefix."""

from hypothesis import strategies as st

PIECES = (
    "/",
    "/",
    "/",
    "//",
    "*",
    "%00",
    "%2F",
    "%2f",
    "%5C",
    "%",
    "%z",
    "%ff",
    "%C3%A4",
    "%2e%2e",
    ".",
    "..",
    "\\",
    ":",
    "@",
    ";",
    "?",
    "#",
    "&",
    "=",
    "[",
    "]",
    "~",
    "http://",
    "HTTP://",
    "//evil.example",
    "evil.example",
    "evil.example:80",
    "livez",
    "items",
    "5",
    "docs",
    "assets",
    "static",
    "redoc",
    "caption",
    "caption_jobs",
    "openapi.json",
    "metrics",
    "a" * 300,
    "a" * 5000,
)
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "get", "PROPFIND")


def targets() -> st.SearchStrategy[str]:
    """Without spaces and line ends, which would be other parts of a request."""
    return st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


def prefixes() -> st.SearchStrategy[str]:
    pieces = (*PIECES, "/captions", " ", ",", '"', "<", "/a-b_c~1")
    return st.lists(st.sampled_from(pieces), max_size=4).map("".join)
