"""A time-out for TLS handshakes, which gunicorn's gevent worker lacks: a silent client would occupy a connection."""

import ssl
from collections.abc import Callable
from typing import Any

import gevent
import gevent.ssl

HANDSHAKE_TIMEOUT = 5.0  # seconds

MakeContext = Callable[[Any, Callable[[], ssl.SSLContext]], ssl.SSLContext]


class LimitedSocket(gevent.ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        """Raise ssl.SSLError after HANDSHAKE_TIMEOUT. `block` is unused, as in gevent."""
        with gevent.Timeout(HANDSHAKE_TIMEOUT, ssl.SSLError("the handshake took too long")):
            super().do_handshake()


def with_handshake_timeout(make_context: MakeContext) -> MakeContext:
    """Wrap gunicorn's setting `ssl_context`, so that its contexts create sockets with the time-out."""

    def ssl_context(config: Any, default_factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = make_context(config, default_factory)
        context.sslsocket_class = LimitedSocket
        return context

    return ssl_context
