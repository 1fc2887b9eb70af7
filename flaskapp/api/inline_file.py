"""Decode a file in JSON: base64 or a data URL.

References: RFC 4648, sections 4 and 5 (base64, and its alphabet for URLs), RFC 2397 (data URLs).
"""

import base64
import re
from urllib.parse import unquote_to_bytes

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
LINE_BREAKS = str.maketrans("", "", "\r\n\t")  # some clients break long lines
MAX_ESCAPES = 2**19  # "%XX" in a data URL: enough for 16 MiB of base64. Decoding each takes 200 bytes of memory
FROM_URL_ALPHABET = str.maketrans("-_", "+/")


def decode(text: str) -> bytes:
    """Return the bytes of the file. Raise ValueError, with a message for the client, for any other text."""
    text = text.strip()
    if not text.isascii():
        raise ValueError("Not valid base64: it has characters that are not ASCII.")
    if text[:5].lower() == "data:":
        return _decode_data_url(text)
    if ADDRESS.match(text):
        raise ValueError("Send the image itself, in base64: no address is fetched.")
    return _decode_base64(text)


def _decode_data_url(url: str) -> bytes:
    head, comma, content = url.partition(",")
    if not comma:
        raise ValueError("Not a valid data URL: it has no comma.")
    if content.count("%") > MAX_ESCAPES:
        raise ValueError(f"The data URL has more than {MAX_ESCAPES} percent signs: send base64.")
    data = unquote_to_bytes(content) if "%" in content else content.encode()
    if head.rpartition(";")[2].strip().lower() != "base64":
        return data
    return _decode_base64(data.decode("latin-1"))


def _decode_base64(text: str) -> bytes:
    """Accept base64 with or without padding, in one of the two alphabets."""
    text = text.strip().translate(LINE_BREAKS)
    if " " in text:  # removing one that was a "+" would change the image
        raise ValueError("Not valid base64: it has spaces, which may have been plus signs.")
    digits = text.rstrip("=")
    padding = -len(digits) % 4
    if len(text) - len(digits) > padding:
        raise ValueError("Not valid base64: its length does not fit its padding.")
    if padding == 3:
        raise ValueError("Not valid base64: it is cut short.")
    if ("-" in digits or "_" in digits) and not ("+" in digits or "/" in digits):
        digits = digits.translate(FROM_URL_ALPHABET)
    try:
        return base64.b64decode(digits + "=" * padding, validate=True)
    except ValueError:
        raise ValueError("Not valid base64.") from None
