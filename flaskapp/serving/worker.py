"""gunicorn's gevent worker, with what it lacks: errors in the shape of the application's, and long-lived connections.

gunicorn's own errors are pages in HTML, and a 500 for a path that is not under SCRIPT_NAME. Its keep-alive time is also
the time in which the head of a request must have come, and a connection that is idle delays a graceful stop by it.
"""

import json
import os
import socket
import ssl
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import gevent
from gunicorn.http import errors
from gunicorn.workers.ggevent import GeventWorker

from flaskapp import metrics
from flaskapp.serving.kept_connections import HEAD, KeptConnections
from flaskapp.serving.tls import with_handshake_timeout
from flaskapp.timings import new_id

LINGER = 2.0  # seconds that the rest of a refused request is thrown away, so that its sender gets to read the refusal
READ_AT_ONCE = 2**16  # bytes

STATUSES = {
    errors.InvalidResponseHeader: HTTPStatus.INTERNAL_SERVER_ERROR,  # the application's fault, though it is an
    errors.InvalidResponseHeaderName: HTTPStatus.INTERNAL_SERVER_ERROR,  # error of the parser to gunicorn
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ConfigurationProblem: HTTPStatus.NOT_FOUND,  # a path that does not begin with SCRIPT_NAME
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
}


class Worker(GeventWorker):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._kept = KeptConnections(self.worker_connections, lambda: not self.alive)

    def patch(self) -> None:
        """Import the application before root becomes another user, which may lack the right to read some libraries."""
        super().patch()
        if os.geteuid() != self.cfg.uid:
            self.app.wsgi()

    def timeout_ctx(self) -> gevent.Timeout:
        return gevent.Timeout(HEAD, False)  # type: ignore[arg-type] # it is silent

    def run(self) -> None:
        """A client that fails the TLS handshake, as one that speaks plain HTTP does, leaves no traceback in the log."""
        hub = gevent.get_hub()
        hub.NOT_ERROR = (*hub.NOT_ERROR, ssl.SSLError)
        self.cfg.set("ssl_context", with_handshake_timeout(self.cfg.ssl_context))
        super().run()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request, and wait for the next one of its connection.

        A client that reads nothing of its answer for too long is disconnected, without a traceback in the log.
        """
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError:
            self.log.info("%s: %s %s: the client takes nothing any more", _name(addr), req.method, req.path)
            raise StopIteration from None
        if not self._kept.wait(req, sock, self.cfg.keepalive):
            raise StopIteration  # closes the connection

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what never became a request, in the shape of the application's errors."""
        status = status_of(exc)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.exception("%s: failed", _name(addr))
        request_id = new_id()
        path = getattr(req or getattr(exc, "req", None), "path", None) or "-"  # known where a header is what is wrong
        self.log.info("%s: %s: refused with %d %s (request %s)", _name(addr), path, status, status.phrase, request_id)
        metrics.current.count_refusal(status)
        body = json.dumps({"code": status, "status": status.phrase})
        head = f"HTTP/1.1 {status} {status.phrase}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        head += f"X-Request-ID: {request_id}\r\nContent-Length: {len(body)}\r\n\r\n"
        with suppress(OSError, gevent.Timeout), gevent.Timeout(LINGER):
            client.sendall((head + body).encode())
            client.shutdown(socket.SHUT_WR)
            while client.recv(READ_AT_ONCE):
                pass


def status_of(error: BaseException) -> HTTPStatus:
    """500 for what is not the client's fault."""
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _name(address: Any) -> str:
    return str(address[0]) if address else "-"
