"""The gunicorn worker: a request gets a thread once all of it has come.

gunicorn's own threaded worker gives a thread to every connection that has begun to send: a few hundred slow senders
have them all, and nobody else is answered. Here one thread at a time waits for the bytes of all connections (see
`crew`), each has a deadline, and what is incomplete costs no thread.

gunicorn still parses, calls the application, writes and logs. Not for TLS or HTTP/2: those are a proxy's.
"""

import errno
import io
import select
import socket
import time
from collections import deque
from http import HTTPStatus
from typing import Any

from gunicorn import http
from gunicorn.workers.base import Worker as BaseWorker
from gunicorn.workers.gthread import ThreadWorker

from flaskapp.serving.balance import Balance
from flaskapp.serving.connection import Connection
from flaskapp.serving.crew import Crew
from flaskapp.serving.framing import Refused

TICK = 0.5  # seconds between two looks at the deadlines
HEAD_START = 0.005  # seconds in which a worker with fewer connections may take the next
LAST_WORDS = 2.0  # seconds after SIGTERM in which a request may still begin on a connection that was kept
BUFFERED = 16  # bodies of the largest size: more bytes of incomplete requests than that do not lie in memory
DEFAULT_MAX_BODY = 2**24  # bytes, for an application that says nothing

READABLE = select.EPOLLIN
READABLE_ONCE = select.EPOLLIN | select.EPOLLONESHOT  # until it is asked for again: while it is answered, it is not

balance = Balance()


class Worker(ThreadWorker):  # type: ignore[misc]
    """The settings `threads` (at most), `worker_connections`, `keepalive` and `graceful_timeout` mean what they say."""

    def init_process(self) -> None:
        self._epoll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}  # by their descriptors, like the connections
        self._connections: dict[int, Connection] = {}
        self._complete: deque[Connection] = deque()  # whose requests nobody answers yet
        self._next_tick = self._stopped = 0.0
        self._paused_until, self._has_paused = 0.0, False
        self.max_keepalived = self.worker_connections  # a connection that is kept takes no thread
        balance.take_place(self.age)
        BaseWorker.init_process(self)

    def handle_exit(self, sig: int, frame: Any) -> None:
        BaseWorker.handle_exit(self, sig, frame)

    def handle_quit(self, sig: int, frame: Any) -> None:
        BaseWorker.handle_quit(self, sig, frame)

    def run(self) -> None:
        """The main thread: signs of life, signals, and the crew's watch."""
        self._max_body: int = getattr(self.wsgi, "config", {}).get("MAX_CONTENT_LENGTH") or DEFAULT_MAX_BODY
        for listener in self.sockets:
            listener.setblocking(False)
            self._listeners[listener.fileno()] = listener
            self._epoll.register(listener, READABLE)
        crew = Crew(self._find, self._answer, most=self.cfg.threads, on_death=self._leave)
        crew.start()
        while self.alive and self.is_parent_alive():
            self.notify()
            crew.watch(patience=1.0)
        self._leave()
        self._stopped = time.monotonic()
        while self._connections and time.monotonic() < self._stopped + self.cfg.graceful_timeout:
            self.notify()
            crew.watch(patience=0.1)
        crew.stop()

    def _leave(self) -> None:
        self.alive = False

    def _find(self) -> Connection | None:
        """A complete request, rather one without a body; None when a while has passed without any."""
        patience = 0 if self._complete else HEAD_START if self._paused_until else TICK
        for descriptor, _ in self._epoll.poll(patience):
            if descriptor in self._listeners:
                self._accept(self._listeners[descriptor])
            elif descriptor in self._connections:
                self._read(self._connections[descriptor])
        self._look_at_the_clock()
        return self._complete.popleft() if self._complete else None

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection, unless a worker with fewer of them does so within a moment."""
        if self._paused_until:
            return  # by another listener, a moment ago
        if len(self._connections) >= self.worker_connections:
            self._pause(TICK)
        elif balance.is_ahead and not self._has_paused:
            self._pause(HEAD_START)
        else:
            self._has_paused = False
            try:
                self._welcome(listener, *listener.accept())
            except OSError as error:  # another worker was faster, or the client left
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    self.log.error("No connection can be accepted: %s", error.strerror)
                    self._pause(TICK)

    def _welcome(self, listener: socket.socket, sock: socket.socket, client: Any) -> None:
        connection = Connection(sock, client, listener.getsockname(), self._max_body)
        self._connections[connection.descriptor] = connection
        balance.tell(len(self._connections))
        self._epoll.register(connection.descriptor, READABLE_ONCE)

    def _pause(self, seconds: float) -> None:
        """Accept nothing for so long."""
        self._paused_until = time.monotonic() + seconds
        for descriptor in self._listeners:
            self._epoll.unregister(descriptor)

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        if not self.alive:
            while self._listeners:
                self._listeners.popitem()[1].close()
        elif self._paused_until and now >= self._paused_until:
            self._paused_until, self._has_paused = 0.0, True
            for descriptor in self._listeners:
                self._epoll.register(descriptor, READABLE)
        if now >= self._next_tick:
            self._next_tick = now + TICK
            for connection in list(self._connections.values()):
                self._close_if_expired(connection, now)

    def _close_if_expired(self, connection: Connection, now: float) -> None:
        deadline = connection.deadline
        if deadline is None:
            return
        is_idle = not connection.incoming.data
        if is_idle and self._stopped:
            deadline = min(deadline, self._stopped + LAST_WORDS)
        if now >= deadline:
            if is_idle:
                self._close(connection)
            else:
                self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT)

    def _read(self, connection: Connection) -> None:
        try:
            goes_on = connection.receive()
        except Refused as refused:
            self._refuse(connection, refused.status)
            return
        if not goes_on:
            self._close(connection)
        elif connection.is_complete:
            if connection.incoming.has_body:
                self._complete.append(connection)
            else:
                self._complete.appendleft(connection)  # a probe need not wait for uploads
        elif self._is_too_much(connection):
            self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._epoll.modify(connection.descriptor, READABLE_ONCE)

    def _is_too_much(self, connection: Connection) -> bool:
        """Whether this one is large, and all that is not complete is too much for the memory."""
        if len(connection.incoming.data) < self._max_body // BUFFERED:
            return False
        return sum(len(each.incoming.data) for each in list(self._connections.values())) > BUFFERED * self._max_body

    def _refuse(self, connection: Connection, status: HTTPStatus) -> None:
        self.log.info("%s: refused with %d %s", _address(connection), status, status.phrase)
        connection.refuse(status)
        self._epoll.modify(connection.descriptor, READABLE_ONCE)

    def _close(self, connection: Connection) -> None:
        del self._connections[connection.descriptor]
        connection.sock.close()
        balance.tell(len(self._connections))

    def _answer(self, connection: Connection) -> None:
        """Answer a request, and those that came with it; then wait for the next, or part."""
        while connection.is_complete:
            if self._answer_one(connection):
                connection.go_on(self.cfg.keepalive)
            else:
                connection.linger()
        if connection.sock.fileno() < 0:  # gunicorn closes it when an answer breaks off
            self._close(connection)
        else:
            self._epoll.modify(connection.descriptor, READABLE_ONCE)

    def _answer_one(self, connection: Connection) -> bool:
        """Whether the connection may go on after it."""
        request = None
        try:
            request = next(http.get_parser(self.cfg, connection.received(), connection.client))
            request._expected_100_continue = False  # that was said
            if connection.incoming.is_cut:
                request.force_close()
            elif connection.incoming.is_chunked:
                request.body = io.BytesIO(request.body.read())  # what is wrong with the chunks is found before the call
            return bool(self.handle_request(request, connection))
        except (http.errors.NoMoreData, StopIteration) as error:
            self.log.debug("%s: not a request: %s", _address(connection), error)
        except OSError as error:
            self.log.debug("%s: the client left: %s", _address(connection), error)
        except Exception as error:
            self.handle_error(request, connection.sock, connection.client, error)
        return False


def _address(connection: Connection) -> str:
    return str(connection.client[0]) if connection.client else "-"
