"""The address that a request's client is counted by, in rate limits and quotas."""

import ipaddress
import re

from flask import current_app, request

from flaskapp.errors import UnknownClient

UNKNOWN = "unknown"  # one key for all addresses that cannot be parsed
UNKNOWN_ADDRESS = "this server does not know your address: it must trust the proxy in front of it"
FORWARDED = ("X-Forwarded-For", "Forwarded", "X-Real-IP")  # headers in which proxies name the client
IPV6_PREFIX = 64  # bits; a subscriber usually has a whole /64

# 192.0.2.1:41000, [2001:db8::1]:41000, [2001:db8::1]
WITH_PORT = re.compile(r"\[(?P<bracketed>[^\[\]]*)\](:\d+)?|(?P<plain>[\d.]+):\d+")


def client_address() -> str:
    """Return the key of this request's client."""
    return normalise(request.remote_addr)


def require_client_address() -> None:
    """Raise UnknownClient if this request's address is a proxy's, and therefore the same for all clients."""
    is_forwarded = any(name in request.headers for name in FORWARDED)
    if client_address() == UNKNOWN or (is_forwarded and not current_app.config["TRUSTED_PROXIES"]):
        raise UnknownClient(UNKNOWN_ADDRESS)


def normalise(text: str | None) -> str:
    """Return the IPv4 address or the /64 network of the IPv6 address in `text`.

    Proxies add a port, brackets, a zone or quotes. Any other text is UNKNOWN: a client must not get fresh limits by
    sending garbage.
    """
    text = (text or "").strip().strip("\"'").strip()
    if match := WITH_PORT.fullmatch(text):
        text = match["bracketed"] or match["plain"] or ""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), IPV6_PREFIX), strict=False))
