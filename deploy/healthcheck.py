"""The container's health check: exits with 0 if a server of this user answers `/livez`, whatever its port.

It tries each TCP address at which this user listens in the network namespace, from `/proc/net/tcp` and `tcp6`
(proc_pid_net(5)). It ignores `http_proxy`. Servers with TLS or on a Unix socket need a health check of their own.
"""

import http.client
import os
import socket
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
    """Whether `/livez`, under gunicorn's SCRIPT_NAME, is answered with 200 over plain HTTP."""
    with (
        closing(http.client.HTTPConnection(host, port, timeout=PATIENCE)) as connection,
        suppress(OSError, http.client.HTTPException),
    ):
        connection.request("GET", os.environ.get("SCRIPT_NAME", "") + "/livez")
        return connection.getresponse().status == http.HTTPStatus.OK
    return False


if __name__ == "__main__":
    sys.exit(0 if any(is_alive(*address) for address in addresses()) else 1)
