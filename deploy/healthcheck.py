"""The container's health check: exit with 0 if a server of this user answers `/livez`.

It finds the TCP addresses and Unix sockets at which programs of this user listen, in `/proc/net/tcp`, `tcp6`
(proc_pid_net(5)) and `unix` (unix(7)), and tries each over HTTP, then over TLS. It ignores `http_proxy`. A server that
requires client certificates needs another health check.
"""

import http.client
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

TCP_LISTEN = "0A"  # in the column `st`
SO_ACCEPTCON, SOCK_STREAM = 1 << 16, 1  # in the columns `Flags` and `Type`
ENGINE = "flaskapp-engine-"  # prefix of the folder of the engine's socket, which does not speak HTTP
TIMEOUT = 2.0  # seconds
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}

Address = tuple[str, int] | str  # host and port, or the path of a Unix socket

# Not verified: the certificate is for the public host name, not for localhost.
UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNVERIFIED.check_hostname = False
UNVERIFIED.verify_mode = ssl.CERT_NONE


def tcp_addresses() -> Iterator[Address]:
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with suppress(FileNotFoundError):  # no IPv6
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, user, *_ = line.split()
                if state == TCP_LISTEN and int(user) == os.geteuid():
                    packed, port = local.split(":")
                    words = [bytes.fromhex(packed[start : start + 8])[::-1] for start in range(0, len(packed), 8)]
                    host = socket.inet_ntop(family, b"".join(words))
                    yield LOOPBACK.get(host, host), int(port, 16)


def unix_addresses() -> Iterator[Address]:
    """Yield the paths of listening sockets. A server that root starts gives its socket to the user of its workers."""
    for line in Path("/proc/net/unix").read_bytes().split(b"\n")[1:]:
        # ValueError: the line has no path, or the path has a line break. OSError: the socket is removed, or in another
        # container.
        with suppress(ValueError, OSError):
            _, _, _, flags, kind, _, _, name = line.split(maxsplit=7)
            path = os.fsdecode(name)
            is_open = int(flags, 16) & SO_ACCEPTCON and int(kind, 16) == SOCK_STREAM and ENGINE not in path
            if is_open and os.geteuid() in (0, Path(path).stat().st_uid):
                yield path


def connect(address: Address) -> socket.socket:
    if not isinstance(address, str):
        return socket.create_connection(address, TIMEOUT)
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(TIMEOUT)
    try:
        connected.connect(address)
    except OSError:
        connected.close()
        raise
    return connected


def answers(address: Address, *, tls: bool) -> bool:
    """Whether `/livez`, under gunicorn's SCRIPT_NAME, answers 200. Raises OSError and HTTPException."""
    with closing(http.client.HTTPConnection("localhost")) as connection:
        connection.sock = connect(address)
        if tls:
            connection.sock = UNVERIFIED.wrap_socket(connection.sock)
        connection.request("GET", os.environ.get("SCRIPT_NAME", "") + "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK


def is_alive(address: Address) -> bool:
    try:
        return answers(address, tls=False)
    except TimeoutError:
        return False
    except (OSError, http.client.HTTPException):  # a TLS server closes a plain connection
        with suppress(OSError, http.client.HTTPException):
            return answers(address, tls=True)
    return False


if __name__ == "__main__":
    sys.exit(0 if any(map(is_alive, [*tcp_addresses(), *unix_addresses()])) else 1)
