"""TLS at the server itself, without a proxy."""

import socket
import ssl
import time
from collections.abc import Callable

import pytest

from flaskapp.serving.tls import HANDSHAKE_TIMEOUT
from tests.conftest import Server
from tests.serving.connections import LAST, connected, head, read_all, statuses
from tests.tls import Certificate, certificate

__all__ = ["certificate"]


def client_hello() -> bytes:
    """What a client sends first."""
    sent = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def is_closed_during(connection: socket.socket, data: bytes) -> bool:
    """Send a byte every quarter of a second. Return whether the server closes the connection before the last."""
    connection.settimeout(0.25)
    for byte in data:
        try:
            connection.sendall(bytes([byte]))
            if connection.recv(1) == b"":
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


@pytest.mark.slow
def test_a_handshake_has_a_time_limit(start_server: Callable[..., Server], certificate: Certificate) -> None:
    server = start_server("--workers", "1", "--certfile", str(certificate.file), "--keyfile", str(certificate.key))
    context = ssl.create_default_context(cafile=str(certificate.file))
    with connected(server) as silent, connected(server) as slow:
        began = time.monotonic()
        with connected(server) as plain, context.wrap_socket(plain, server_hostname="localhost") as other:
            other.sendall(head("GET /items/5", LAST))
            assert statuses(read_all(other)) == [200]
        assert is_closed_during(slow, client_hello())
        assert read_all(silent) == b""
        assert time.monotonic() - began >= HANDSHAKE_TIMEOUT
    assert server.count("Traceback") == 0
