"""Files from the hosts that the operator names, for clients that send addresses of images.

Anybody may ask for an address, so nothing is reached that the operator did not name, or that lies inside (server-side
request forgery): HTTPS alone, no redirect, and only public addresses, whatever a name resolves to. The address that
was checked is the one that is connected to, so that a second answer of the DNS cannot be another one.

Reference: OWASP, Server-Side Request Forgery Prevention Cheat Sheet.
"""

import ipaddress
import socket
import time
from collections.abc import Collection
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from flaskapp.errors import NotFetched

DEADLINE = 15.0  # seconds for all files of a request
PATIENCE = 5.0  # seconds without a byte, or for a connection
CHUNK = 1 << 16  # bytes
PORT = 443
HEADERS = {"User-Agent": "flaskapp", "Accept": "image/*", "Accept-Encoding": "identity"}
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # IPv4 addresses in IPv6, where a network translates them


class Allowance:
    """What one request may have fetched: from these hosts, so many bytes in all, within DEADLINE.

    Hosts are names in lower case, with a port if that is not 443.
    """

    def __init__(self, hosts: Collection[str], most: int) -> None:
        self.hosts, self.most = hosts, most
        self.until = time.monotonic() + DEADLINE


def fetch(url: str, allowance: Allowance) -> bytes:
    """The file at a URL. Raises NotFetched, which says why, for one that is not allowed or cannot be read."""
    host, port, path = _parse(url, allowance.hosts)
    address = _public_address(host, port)
    pool = urllib3.HTTPSConnectionPool(
        address, port, server_hostname=host, assert_hostname=host, cert_reqs="CERT_REQUIRED", retries=False
    )
    try:
        with pool:
            answer = pool.request(
                "GET",
                path,
                headers=HEADERS | {"Host": host if port == PORT else f"{host}:{port}"},
                timeout=PATIENCE,
                redirect=False,
                preload_content=False,
            )
            if answer.status != 200:
                raise NotFetched(f"{host} answers {answer.status}")
            return _read(answer, host, allowance)
    except (HTTPError, OSError) as error:
        raise NotFetched(f"{host} cannot be read: {type(error).__name__}") from error


def _parse(url: str, hosts: Collection[str]) -> tuple[str, int, str]:
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
    if not host.isascii() or not {host, f"{host}:{port}"} & set(hosts) or (host in hosts and port != PORT):
        raise NotFetched("this server does not fetch from that host")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return host, port, path


def _public_address(host: str, port: int) -> str:
    """An address of the host. Raises NotFetched where one of them is not public."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotFetched(f"{host} is not known") from error
    addresses = [str(address[0]) for *_, address in found]
    if not all(map(is_public, addresses)):
        raise NotFetched(f"{host} is not a public host")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to a host on the internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _read(answer: urllib3.BaseHTTPResponse, host: str, allowance: Allowance) -> bytes:
    content = bytearray()
    for chunk in answer.stream(CHUNK, decode_content=False):
        content += chunk
        if len(content) > allowance.most:
            raise NotFetched(f"{host} has more bytes there than this server takes for one request")
        if time.monotonic() > allowance.until:
            raise NotFetched(f"{host} did not send it within {DEADLINE:g} seconds")
    allowance.most -= len(content)
    return bytes(content)
