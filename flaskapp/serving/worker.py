"""gunicorn's gevent worker, with JSON errors and a long keep-alive time.

gunicorn's own errors are HTML pages, and a path outside SCRIPT_NAME is a 500. It uses the keep-alive time also as the
time-out for the head of a request, and an idle connection delays a graceful stop by that time. At a stop, it resets the
connections that it has not accepted yet.
"""

import json
import os
import socket
import ssl
from contextlib import suppress
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import gevent
from gevent.server import StreamServer
from gunicorn.http import errors
from gunicorn.workers import ggevent

from flaskapp import metrics
from flaskapp.serving.kept_connections import HEAD_TIMEOUT, KeptConnections
from flaskapp.serving.tls import with_handshake_timeout
from flaskapp.timings import new_id

LINGER = 2.0  # seconds in which the rest of a refused request is discarded, so that the client can read the error
READ_AT_ONCE = 2**16  # bytes

STATUSES = {
    errors.InvalidResponseHeader: HTTPStatus.INTERNAL_SERVER_ERROR,  # a ParseException in gunicorn,
    errors.InvalidResponseHeaderName: HTTPStatus.INTERNAL_SERVER_ERROR,  # but an error of the application
    errors.LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ConfigurationProblem: HTTPStatus.NOT_FOUND,  # a path outside SCRIPT_NAME
    errors.ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    errors.UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
    errors.ParseException: HTTPStatus.BAD_REQUEST,
}
MESSAGES = {
    HTTPStatus.BAD_REQUEST: "The request's line or headers are malformed. Percent-encode other characters than ASCII.",
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The address is too long.",
    HTTPStatus.EXPECTATION_FAILED: "This expectation is not supported.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The headers are too long, or too many.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "The request failed.",
    HTTPStatus.NOT_IMPLEMENTED: "This transfer coding is not supported.",
}


class DrainingServer(StreamServer):
    """When it stops, it first accepts the connections that wait in the kernel's queue."""

    def close(self) -> None:
        handle: Any = self.__dict__.get("handle")
        while not self.closed and not self.full():
            try:
                accepted = self.do_read()
            except ConnectionAbortedError:  # this client has left
                continue
            except OSError:  # for example, no descriptor is left
                break
            if accepted is None:
                break
            self.do_handle(*accepted)
        super().close()
        self.handle = handle  # with TLS, gevent reads it after the handshake


# `GeventWorker.run` has no option for it. Its `server_class` is for servers that parse HTTP themselves.
ggevent.StreamServer = DrainingServer


class Worker(ggevent.GeventWorker):  # type: ignore[misc]
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._connections = KeptConnections(self.worker_connections, lambda: not self.alive)

    def patch(self) -> None:
        """Import the application before root becomes another user, which may not be allowed to read some libraries."""
        super().patch()
        if os.geteuid() != self.cfg.uid:
            self.app.wsgi()

    def timeout_ctx(self) -> gevent.Timeout:
        return gevent.Timeout(HEAD_TIMEOUT, False)  # type: ignore[arg-type] # False: raise nothing

    def run(self) -> None:
        """Run without a traceback in the log for each failed TLS handshake, such as that of a plain HTTP client."""
        self._names = {listener: listener.getsockname() for listener in self.sockets}
        hub = gevent.get_hub()
        hub.NOT_ERROR = (*hub.NOT_ERROR, ssl.SSLError)
        self.cfg.set("ssl_context", with_handshake_timeout(self.cfg.ssl_context))
        super().run()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Handle a connection, which may have been accepted just before the listener was closed."""
        super().handle(SimpleNamespace(getsockname=lambda: self._names[listener]), client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request, and wait for the next one of its connection.

        Disconnects a client that does not read its answer, without a traceback in the log.
        """
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError:
            self.log.info("%s: %s %s: the client does not read the answer", _name(addr), req.method, req.path)
            raise StopIteration from None
        if not self._connections.wait(req, sock, self.cfg.keepalive):
            raise StopIteration  # closes the connection

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a malformed request with a JSON error like the application's."""
        from flaskapp.api.response_headers import POLICY, POLICY_NAME, SECURITY_HEADERS  # only workers load Flask

        status = status_of(exc)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            self.log.exception("%s: failed", _name(addr))
        request_id = new_id()
        path = getattr(req or getattr(exc, "req", None), "path", None) or "-"  # known if only a header is malformed
        self.log.info("%s: %s: refused with %d %s (request %s)", _name(addr), path, status, status.phrase, request_id)
        metrics.current.count_refusal(status)
        body = json.dumps({"code": status, "status": status.phrase, "message": MESSAGES[status]})
        headers = {
            "Connection": "close", "Content-Type": "application/json", "Content-Length": len(body),
            "X-Request-ID": request_id, **dict(SECURITY_HEADERS), POLICY_NAME: POLICY,
        }  # fmt: skip
        lines = [f"HTTP/1.1 {status} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        head = "\r\n".join(lines) + "\r\n\r\n"
        with suppress(OSError, gevent.Timeout), gevent.Timeout(LINGER):
            client.sendall((head + body).encode())
            client.shutdown(socket.SHUT_WR)
            while client.recv(READ_AT_ONCE):
                pass


def status_of(error: BaseException) -> HTTPStatus:
    """Return the status for an error: 500 unless the client caused it."""
    for kind, status in STATUSES.items():
        if isinstance(error, kind):
            return status
    return HTTPStatus.INTERNAL_SERVER_ERROR


def _name(address: Any) -> str:
    return str(address[0]) if address else "-"
