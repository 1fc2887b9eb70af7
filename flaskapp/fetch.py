"""Requests to hosts that the operator allows: for images whose URLs clients send, and for webhooks.

Clients choose the URL, so it must not reach anything that only this server can reach (server-side request forgery).
Requests use HTTPS only, follow no redirect, use no proxy, and connect to public addresses only. They connect to the
address that was checked: a second DNS lookup may return another one.

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
TIMEOUT = 5.0  # seconds to connect, between bytes, and to wait for the semaphore
MAX_CONCURRENT = 8  # fetches in one process
CHUNK_SIZE = 1 << 16  # bytes
PORT = 443
HEADERS = {"User-Agent": "flaskapp", "Accept": "image/*", "Accept-Encoding": "identity"}
UNQUOTED = "%/:?@!$&'()*+,;=~"  # characters of a path and a query
UNICAST = ipaddress.ip_network("2000::/3")  # the global unicast addresses of IPv6
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses that NAT64 translates

_semaphore = threading.BoundedSemaphore(MAX_CONCURRENT)


class Allowance:
    """The limits of all fetches of one request: the allowed hosts, the remaining bytes, and the end of DEADLINE.

    Hosts are names in lower case, with a port if it is not 443.
    """

    def __init__(self, hosts: Collection[str], max_bytes: int) -> None:
        self.hosts, self.max_bytes = hosts, max_bytes
        self.until = time.monotonic() + DEADLINE


def fetch(url: str, allowance: Allowance) -> bytes:
    """Return the file at a URL.

    Raise NotFetched, with the reason, for a URL that is not allowed or cannot be read, and TooBusy.
    """
    parse_url(url, allowance.hosts)
    if not _semaphore.acquire(timeout=TIMEOUT):
        raise TooBusy("too many images are being fetched at once", retry_after=int(DEADLINE))
    try:
        content = request("GET", url, allowance.hosts, allowance.until, HEADERS, max_bytes=allowance.max_bytes)
    finally:
        _semaphore.release()
    allowance.max_bytes -= len(content)
    return content


def request(
    method: str,
    url: str,
    hosts: Collection[str],
    until: float,
    headers: Mapping[str, str],
    *,
    body: bytes | None = None,
    max_bytes: int = 0,
) -> bytes:
    """Send a request to one of the hosts, and return the body of its response, up to `max_bytes`. 0: do not read it.

    Raise NotFetched, with the reason, unless the host answers 2xx by `until` on the monotonic clock. A timer closes the
    connection at that time, also if single bytes keep arriving.
    """
    host, port, path = parse_url(url, hosts)
    sent = {**headers, **trace_context.headers(), "Connection": "close"}
    try:
        plain = socket.create_connection((_public_address(host, port), port), _timeout(until))
        with plain, plain.dup() as twin:  # wrap_socket detaches the first one
            timer = threading.Timer(max(0.0, until - time.monotonic()), _shut_down, [twin])
            timer.start()
            try:
                with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as sock:
                    connection = http.client.HTTPSConnection(host, port)
                    connection.sock = sock
                    connection.request(method, path, body, sent)
                    with closing(connection.getresponse()) as answer:
                        content = _read(answer, host, max_bytes)
            finally:
                timer.cancel()
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: the timer closed the socket
        if time.monotonic() >= until:
            raise NotFetched(f"{host} did not answer in time") from error
        raise NotFetched(f"{host} cannot be reached: {type(error).__name__}") from error
    if time.monotonic() >= until:
        raise NotFetched(f"{host} did not answer in time")
    return content


def parse_url(url: str, hosts: Collection[str]) -> tuple[str, int, str]:
    """Return the host, the port, and the path with the query. Raise NotFetched for a URL that is not allowed."""
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
    return host, port, quote(path, safe=UNQUOTED)


def _timeout(until: float) -> float:
    return max(0.001, min(TIMEOUT, until - time.monotonic()))


def _read(answer: http.client.HTTPResponse, host: str, max_bytes: int) -> bytes:
    if not 200 <= answer.status < 300:
        raise NotFetched(f"{host} answers {answer.status}")
    content = bytearray()
    while max_bytes and (chunk := answer.read(CHUNK_SIZE)):
        content += chunk
        if len(content) > max_bytes:
            raise NotFetched(f"{host} has more bytes there than this server takes for one request")
    return bytes(content)


def _shut_down(twin: socket.socket) -> None:
    with suppress(OSError):
        twin.shutdown(socket.SHUT_RDWR)


def _public_address(host: str, port: int) -> str:
    """Return an address of the host. Raise NotFetched if any of its addresses is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotFetched(f"{host} is not known") from error
    addresses = [str(address[0]) for *_, address in found]
    if not all(map(is_public, addresses)):
        raise NotFetched(f"{host} is not a public host")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the internet. An IPv4 address inside an IPv6 address decides."""
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
