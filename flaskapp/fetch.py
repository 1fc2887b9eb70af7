"""Requests to the hosts that the operator names: for images whose addresses clients send, and for webhooks.

Any client may send an address, so it must not lead to anything that only this server can reach (server-side request
forgery): HTTPS alone, no redirect, no proxy, and public addresses alone, whatever the DNS says. The address that was
checked is the one that is connected to, since the DNS may say another one next time.

Reference: OWASP, Server-Side Request Forgery Prevention Cheat Sheet.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from urllib.parse import quote, urlsplit

from flaskapp import trace_context
from flaskapp.errors import NotFetched, TooBusy

DEADLINE = 15.0  # seconds for all files of a request
PATIENCE = 5.0  # seconds for a connection, for its next bytes, and for a turn
AT_ONCE = 8  # fetches of one process
CHUNK = 1 << 16  # bytes
PORT = 443
HEADERS = {"User-Agent": "flaskapp", "Accept": "image/*", "Accept-Encoding": "identity"}
KEPT = "%/:?@!$&'()*+,;=~"  # of a path and a query
UNICAST = ipaddress.ip_network("2000::/3")  # the only part of IPv6 that is given out on the internet
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses in IPv6, where a network translates them

_turns = threading.BoundedSemaphore(AT_ONCE)


class Allowance:
    """What one request may have fetched: from these hosts, so many bytes in all, within DEADLINE.

    Hosts are names in lower case, with a port if that is not 443.
    """

    def __init__(self, hosts: Collection[str], most: int) -> None:
        self.hosts, self.most = hosts, most
        self.until = time.monotonic() + DEADLINE


def fetch(url: str, allowance: Allowance) -> bytes:
    """The file at a URL.

    Raises NotFetched, which says why, for one that is not allowed or cannot be read, and TooBusy.
    """
    parse_url(url, allowance.hosts)
    if not _turns.acquire(timeout=PATIENCE):
        raise TooBusy("too many images are being fetched at once", retry_after=int(DEADLINE))
    try:
        content = request("GET", url, allowance.hosts, allowance.until, HEADERS, most=allowance.most)
    finally:
        _turns.release()
    allowance.most -= len(content)
    return content


def request(
    method: str,
    url: str,
    hosts: Collection[str],
    until: float,
    headers: Mapping[str, str],
    *,
    body: bytes | None = None,
    most: int = 0,
) -> bytes:
    """What one of the hosts answers, by `until` on the monotonic clock: at most so many bytes; with 0 none is read.

    A timer cuts the connection at the deadline: one byte now and then is no answer.
    Raises NotFetched, which says why, unless it answers with 2xx.
    """
    host, port, path = parse_url(url, hosts)
    sent = {**headers, **trace_context.headers(), "Connection": "close"}
    try:
        plain = socket.create_connection((_public_address(host, port), port), _patience(until))
        with plain, plain.dup() as twin:  # TLS takes the first one over
            timer = threading.Timer(max(0.0, until - time.monotonic()), _cut, [twin])
            timer.start()
            try:
                with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as sock:
                    connection = http.client.HTTPSConnection(host, port)
                    connection.sock = sock
                    connection.request(method, path, body, sent)
                    with closing(connection.getresponse()) as answer:
                        content = _read(answer, host, most)
            finally:
                timer.cancel()
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: of a socket that was cut
        if time.monotonic() >= until:
            raise NotFetched(f"{host} did not answer in time") from error
        raise NotFetched(f"{host} cannot be reached: {type(error).__name__}") from error
    if time.monotonic() >= until:
        raise NotFetched(f"{host} did not answer in time")
    return content


def parse_url(url: str, hosts: Collection[str]) -> tuple[str, int, str]:
    """Host, port, and path with query. Raises NotFetched for what is not allowed."""
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or PORT
    except ValueError as error:
        raise NotFetched("this is not an address") from error
    if parts.scheme != "https":
        raise NotFetched("only https: addresses are fetched")
    if parts.username is not None or parts.password is not None:
        raise NotFetched("an address with a login is not fetched")
    if f"{host}:{port}" not in hosts and (port != PORT or host not in hosts):
        raise NotFetched("this server does not fetch from that host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port, quote(path, safe=KEPT)


def _patience(until: float) -> float:
    return max(0.001, min(PATIENCE, until - time.monotonic()))


def _read(answer: http.client.HTTPResponse, host: str, most: int) -> bytes:
    if not 200 <= answer.status < 300:
        raise NotFetched(f"{host} answers {answer.status}")
    content = bytearray()
    while most and (chunk := answer.read(CHUNK)):
        content += chunk
        if len(content) > most:
            raise NotFetched(f"{host} has more bytes there than this server takes for one request")
    return bytes(content)


def _cut(twin: socket.socket) -> None:
    with suppress(OSError):
        twin.shutdown(socket.SHUT_RDWR)


def _public_address(host: str, port: int) -> str:
    """An address of the host. Raises NotFetched where one of them is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotFetched(f"{host} is not known") from error
    addresses = [str(address[0]) for *_, address in found]
    if not all(map(is_public, addresses)):
        raise NotFetched(f"{host} is not a public host")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet. Addresses of IPv6 that hold one of IPv4 are as public as that."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip not in UNICAST:
            return False
    return ip.is_global and not ip.is_multicast
