"""Normalise client addresses, which proxies write in several ways."""

import ipaddress
import re

UNKNOWN = "unknown"  # one key for all addresses that cannot be parsed
IPV6_PREFIX = 64  # bits; a subscriber usually has a whole /64

# 192.0.2.1:41000, [2001:db8::1]:41000, [2001:db8::1]
WITH_PORT = re.compile(r"\[(?P<bracketed>[^\[\]]*)\](:\d+)?|(?P<plain>[\d.]+):\d+")


def normalise(text: str | None) -> str:
    """The key that a client is counted by: an IPv4 address, or the /64 network of an IPv6 address.

    Accepts an address with or without port, brackets, zone and quotes. Anything else is UNKNOWN: a client must not get
    fresh limits by sending garbage.
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
