"""The container's health check: does the server answer `/livez`, at whatever address `--bind` made it listen?

Exits with 0 if it does. The addresses are those at which processes of this user listen in this network namespace, as
`/proc/net/tcp` and `tcp6` list them (proc_pid_net(5)). No proxy of the environment is asked.
"""

import http.client
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

LISTENS = "0A"  # TCP_LISTEN in the column of states
PATIENCE = 2.0  # seconds for an answer
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def addresses() -> Iterator[tuple[str, int]]:
    """Host and port of each socket that listens."""
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        with suppress(FileNotFoundError):  # there is no IPv6
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                _, local, _, state, _, _, _, user, *_ = line.split()
                if state == LISTENS and int(user) == os.geteuid():
                    packed, port = local.split(":")
                    words = [bytes.fromhex(packed[start : start + 8])[::-1] for start in range(0, len(packed), 8)]
                    host = socket.inet_ntop(family, b"".join(words))
                    yield LOOPBACK.get(host, host), int(port, 16)


def is_alive(host: str, port: int) -> bool:
    """Whether `/livez` is answered with 200 there, without TLS or with a certificate of any kind."""
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    for connection in (
        http.client.HTTPConnection(host, port, timeout=PATIENCE),
        http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=unverified),
    ):
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/livez")
            if connection.getresponse().status == http.HTTPStatus.OK:
                return True
    return False


if __name__ == "__main__":
    sys.exit(0 if any(is_alive(*address) for address in addresses()) else 1)
