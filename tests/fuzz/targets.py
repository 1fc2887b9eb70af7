"""Hypothesis strategies for odd request targets and proxies' prefixes."""

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
    """Draw targets without spaces and line ends, which would end the target."""
    return st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)


def prefixes() -> st.SearchStrategy[str]:
    pieces = (*PIECES, "/captions", " ", ",", '"', "<", "/a-b_c~1")
    return st.lists(st.sampled_from(pieces), max_size=4).map("".join)
