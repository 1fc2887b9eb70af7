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
import threading
import time
from collections import deque
from http import HTTPStatus
from typing import Any, NamedTuple

from gunicorn import http
from gunicorn.workers.base import Worker as BaseWorker
from gunicorn.workers.gthread import ThreadWorker

from flaskapp import metrics
from flaskapp.serving.balance import Balance
from flaskapp.serving.connection import Connection
from flaskapp.serving.crew import Crew
from flaskapp.serving.framing import Refused
from flaskapp.serving.outgoing import Outgoing
from flaskapp.serving.parser_errors import status_of
from flaskapp.trace import new_id

TICK = 0.5  # seconds between two looks at the deadlines
HEAD_START = 0.005  # seconds in which a worker with fewer connections may take the next
LAST_WORDS = 2.0  # seconds after SIGTERM in which a request may still begin on a connection that was kept
BUFFERED = 16  # bodies of the largest size: more bytes of requests than that do not lie in memory
SMALL = 2**17  # bytes, apart from those that have no more than this
RESERVED = 8  # threads beyond all that may wait, for requests that do not: probes are answered whatever waits
DEFAULT_MAX_BODY = 2**24  # bytes, for an application that says nothing

READABLE = select.EPOLLIN
READABLE_ONCE = select.EPOLLIN | select.EPOLLONESHOT  # until it is asked for again: while it is answered, it is not

balance = Balance()


class Answering(NamedTuple):
    """What gunicorn asks of a connection while it answers."""

    sock: Outgoing
    client: Any
    server: Any


class Worker(ThreadWorker):  # type: ignore[misc]
    """`worker_connections`, `keepalive` and `graceful_timeout` mean what they say; `threads` are for what may wait."""

    def init_process(self) -> None:
        self._epoll = select.epoll()
        self._listeners: dict[int, socket.socket] = {}  # by their descriptors, like the connections
        self._connections: dict[int, Connection] = {}
        self._light: deque[Connection] = deque()  # whose requests are complete: that are answered at once,
        self._heavy: deque[Connection] = deque()  # that may wait, for the model or the database,
        self._in_hand: set[Connection] = set()  # and those of the latter that have a thread
        self._is_light_first = False
        self._hand = threading.RLock()  # holds deadlines, from their setting until the connection is waited for
        self._next_tick = 0.0
        self._paused_until, self._has_paused = 0.0, False
        self.max_keepalived = self.worker_connections  # a connection that is kept takes no thread
        balance.take_place(self.age)
        BaseWorker.init_process(self)

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl or cfg.proxy_protocol not in (False, "off"):
            log.error("TLS and the PROXY protocol are for a proxy in front: this worker does not speak them")
            raise SystemExit(1)

    # Not those of ThreadWorker, which are for a pool of threads that is not made here.
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
        crew = Crew(self._find, self._answer, most=self.cfg.threads + RESERVED, on_death=self._leave)
        crew.start()
        while self.alive and self.is_parent_alive():
            self.notify()
            crew.watch(patience=1.0)
        self._leave()
        until = time.monotonic() + self.cfg.graceful_timeout
        while self._connections and time.monotonic() < until:
            self.notify()
            crew.watch(patience=0.1)
        crew.stop()

    def _leave(self) -> None:
        self.alive = False

    def _find(self) -> Connection | None:
        """A complete request; None when a while has passed without one.

        Those that may wait, and those that do not, take turns: a probe waits for one upload to be begun at most.
        """
        patience = 0 if self._next_queue() else HEAD_START if self._paused_until or self._heavy else TICK
        for descriptor, _ in self._epoll.poll(patience):
            if descriptor in self._listeners:
                self._accept(self._listeners[descriptor])
            elif descriptor in self._connections:
                self._read(self._connections[descriptor])
        self._look_at_the_clock()
        self._is_light_first = not self._is_light_first
        queue = self._next_queue()
        return queue.popleft() if queue else None

    def _next_queue(self) -> deque[Connection]:
        """Where the next request comes from, if it is not empty. Those that may wait never have all threads."""
        has_room = len(self._in_hand) < self.cfg.threads
        if self._heavy and has_room and not (self._light and self._is_light_first):
            return self._heavy
        return self._light

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
        if not self.alive and self._listeners:
            self._close_listeners(now)
        elif self._paused_until and now >= self._paused_until:
            self._paused_until, self._has_paused = 0.0, True
            for descriptor in self._listeners:
                self._epoll.register(descriptor, READABLE)
        if now >= self._next_tick:
            self._next_tick = now + TICK
            with self._hand:
                for connection in list(self._connections.values()):
                    self._close_if_expired(connection, now)

    def _close_listeners(self, now: float) -> None:
        """Take no more connections, and let those go soon that are not in a request."""
        while self._listeners:
            descriptor, listener = self._listeners.popitem()
            if not self._paused_until:
                self._epoll.unregister(descriptor)  # closing is not enough: the master has the same file
            listener.close()
        self._paused_until = 0.0
        balance.forget(self.age)
        with self._hand:
            for connection in list(self._connections.values()):
                if connection.deadline is not None and not connection.incoming.data:
                    connection.deadline = min(connection.deadline, now + LAST_WORDS)

    def _close_if_expired(self, connection: Connection, now: float) -> None:
        if connection.deadline is None or now < connection.deadline:
            return
        if connection.incoming.data:
            self._refuse(connection, HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._close(connection)

    def _read(self, connection: Connection) -> None:
        try:
            goes_on = connection.receive()
        except Refused as refused:
            self._refuse(connection, refused.status)
            return
        if not goes_on:
            self._close(connection)
        elif connection.is_complete:
            (self._heavy if connection.incoming.may_wait else self._light).append(connection)
        elif self._is_too_much(connection):
            self._refuse(connection, HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self._epoll.modify(connection.descriptor, READABLE_ONCE)

    def _is_too_much(self, connection: Connection) -> bool:
        """Whether this one is more than small, and all requests together are too much for the memory."""
        if len(connection.incoming.data) < SMALL:
            return False
        return sum(len(each.incoming.data) for each in list(self._connections.values())) > BUFFERED * self._max_body

    def _refuse(self, connection: Connection, status: HTTPStatus) -> None:
        request_id = new_id()
        self.log.info(
            "%s: %s: refused with %d %s (request %s)",
            _address(connection), connection.incoming.line, status, status.phrase, request_id,
        )  # fmt: skip
        metrics.current.count_refusal(status)
        connection.refuse(status, request_id)
        self._wait_for_more(connection)

    def _wait_for_more(self, connection: Connection) -> None:
        with self._hand:
            self._in_hand.discard(connection)  # before another thread may have it
            if connection.sock.fileno() < 0:  # gunicorn closes it when an answer breaks off
                self._close(connection)
            else:
                connection.wait(self.cfg.keepalive if self.alive else LAST_WORDS)
                self._epoll.modify(connection.descriptor, READABLE_ONCE)

    def _close(self, connection: Connection) -> None:
        if self._connections.get(connection.descriptor) is connection:  # or it is closed, and its number another's
            del self._connections[connection.descriptor]
        connection.sock.close()
        if self._listeners:
            balance.tell(len(self._connections))

    def _answer(self, connection: Connection) -> None:
        """Answer a request, and those that came with it; then wait for the next, or part."""
        try:
            while connection.is_complete:
                if not self._may_answer(connection):
                    self._heavy.append(connection)
                    return
                if self._answer_one(connection):
                    connection.go_on()
                else:
                    connection.linger()
        except Refused as refused:
            self._refuse(connection, refused.status)
        except (Exception, SystemExit):  # one connection's, and no reason for the worker to end
            self.log.exception("%s: the connection is given up", _address(connection))
            connection.linger()
            self._wait_for_more(connection)
        else:
            self._wait_for_more(connection)

    def _may_answer(self, connection: Connection) -> bool:
        """Whether there is a thread for it: a request that does not wait may have brought one that does."""
        if not connection.incoming.may_wait:
            return True
        with self._hand:
            if len(self._in_hand - {connection}) >= self.cfg.threads:
                return False
            self._in_hand.add(connection)
            return True

    def _answer_one(self, connection: Connection) -> bool:
        """Whether the connection may go on after it. Raises Refused."""
        try:
            request = next(http.get_parser(self.cfg, connection.received(), connection.client))
            request._expected_100_continue = False  # that was said
            # All of it, before the call: gunicorn reads by kilobytes, and would ask for more than chunks that are cut.
            incoming = connection.incoming
            body = request.body.reader.read(self._max_body + 1) if incoming.is_chunked else incoming.body
            request.body = io.BytesIO(body)
            if incoming.is_cut:
                request.force_close()
            outgoing = Outgoing(connection.sock)
            may_go_on = self.handle_request(request, Answering(outgoing, connection.client, connection.server))
            outgoing.flush()
            return bool(may_go_on)
        except (http.errors.NoMoreData, StopIteration) as error:
            self.log.debug("%s: not a request: %s", _address(connection), error)
        except OSError as error:
            self.log.debug("%s: the client left: %s", _address(connection), error)
        except Exception as error:
            if (status := status_of(error)) is HTTPStatus.INTERNAL_SERVER_ERROR:
                self.log.exception("%s: %s: failed", _address(connection), connection.incoming.line)
            raise Refused(status) from error
        return False


def _address(connection: Connection) -> str:
    return str(connection.client[0]) if connection.client else "-"
