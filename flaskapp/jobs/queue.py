"""Sends the ids of chunks to workers, by Celery: over a configured broker, otherwise through a folder."""

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery
from celery.signals import setup_logging
from kombu.connection import Connection
from kombu.exceptions import KombuError
from kombu.messaging import Producer

from flaskapp import broker_urls
from flaskapp.errors import BrokerUnavailable, DatabaseUnavailable
from flaskapp.jobs import folder_queue
from flaskapp.jobs.claims import ChunkId

log = logging.getLogger(__name__)

FOLDER = "filesystem"  # URL scheme of a folder: filesystem:///data/queue
TASK = "flaskapp.caption_chunk"
TIDY = "flaskapp.tidy"
TIDY_INTERVAL = 600.0  # seconds
QUEUE = "flaskapp-captions"
SUBMIT_TIMEOUT = 2.0  # seconds for the broker to respond while a client submits a job
MAX_RETRY_DELAY = 60  # seconds
WORKER_TIMEOUT = 5.0  # seconds of silence before a worker sends a health check, and before it drops the connection
NOT_FOUND = "404"  # AMQP's reply code
MAX_CAUSES = 10  # chained exceptions in one log line

Send = Callable[[Iterable[ChunkId]], None]


class Queue:
    """The queue of messages to workers. Opens nothing before the first call, so it is safe to fork."""

    def __init__(self, broker_url: str) -> None:
        url = urlsplit(broker_url)
        self.is_local = url.scheme == FOLDER  # a folder: this machine's server runs the worker
        self._folder = Path(unquote(url.path)) if self.is_local else None
        self.celery = Celery("flaskapp", set_as_current=False)
        broker = broker_urls.Broker(f"{FOLDER}://localhost") if self.is_local else broker_urls.parse(broker_url)
        self.celery.conf.update(
            broker_url=broker.url,
            broker_use_ssl=broker.use_ssl or False,
            broker_transport_options=broker.transport_options
            | {
                "visibility_timeout": 3600,
                "polling_interval": 0.5,
                "socket_connect_timeout": WORKER_TIMEOUT,  # Redis; without timeouts, a lost connection goes unnoticed
                "socket_timeout": WORKER_TIMEOUT,
                "health_check_interval": int(WORKER_TIMEOUT),
            },
            broker_connection_retry_on_startup=True,
            broker_connection_max_retries=None,
            task_default_queue=QUEUE,
            task_ignore_result=True,
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            worker_prefetch_multiplier=1,
            worker_pool="solo",  # a worker captions one chunk at a time
            worker_concurrency=1,
            worker_hijack_root_logger=False,
            worker_redirect_stdouts=False,
            worker_enable_remote_control=not self.is_local,
            worker_cancel_long_running_tasks_on_connection_loss=False,
            beat_scheduler="celery.beat:Scheduler",  # the default scheduler writes a file
            beat_schedule={"tidy": {"task": TIDY, "schedule": TIDY_INTERVAL}},
        )

    @property
    def has_been_used(self) -> bool:
        """Return whether there may be messages: False only if the queue's folder does not exist."""
        return self._folder is None or self._folder.exists()

    def worker(self) -> Any:
        """Return a Celery worker for one task at a time. Its `start` returns even after an unrecoverable error."""
        setup_logging.connect(_keep_logging)
        return self.celery.Worker(
            pool="solo", quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True
        )

    def prepare(self) -> None:
        """Create the folders of a queue in a folder. Raises OSError."""
        if self._folder is not None:
            transport = "flaskapp.jobs.folder_queue:Transport"
            options = self.celery.conf.broker_transport_options | folder_queue.options(self._folder)
            self.celery.conf.update(broker_transport=transport, broker_transport_options=options)

    def register(self, caption_chunk: Callable[[str, int], None], tidy: Callable[[], None]) -> None:
        """Define the tasks. They are retried while the database is unavailable, and record other failures in it."""
        self.celery.task(
            name=TASK,
            shared=False,  # only with this Celery application
            autoretry_for=(DatabaseUnavailable,),
            retry_backoff=True,
            retry_backoff_max=MAX_RETRY_DELAY,
            max_retries=None,
        )(caption_chunk)
        self.celery.task(name=TIDY, shared=False)(tidy)

    @contextmanager
    def open(self) -> Iterator[Send]:
        """Open a connection, and yield a function that sends messages. Raises BrokerUnavailable."""
        with self._connect() as connection:

            def send(chunks: Iterable[ChunkId]) -> None:
                with self._mapping_errors(connection), Producer(connection) as producer:
                    for chunk in chunks:
                        self.celery.send_task(TASK, args=list(chunk), producer=producer, retry=False)

            yield send

    def is_empty(self) -> bool:
        """Return whether no message is queued. Raises BrokerUnavailable."""
        with self._connect() as connection, self._mapping_errors(connection):
            try:
                return int(connection.default_channel.queue_declare(QUEUE, passive=True).message_count) == 0
            except connection.channel_errors as error:
                if str(getattr(error, "reply_code", "")) == NOT_FOUND:  # in Redis, an empty queue does not exist
                    return True
                raise

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        try:
            self.prepare()
        except OSError as error:
            raise _unavailable(error) from error
        timeouts = {"socket_connect_timeout": SUBMIT_TIMEOUT, "socket_timeout": SUBMIT_TIMEOUT}
        options = timeouts if not self.is_local else {}
        connection = self.celery.connection_for_write(connect_timeout=SUBMIT_TIMEOUT, transport_options=options)
        try:
            with self._mapping_errors(connection):
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=SUBMIT_TIMEOUT)
                connection.default_channel  # noqa: B018 - creating it is the first round trip to the broker
            yield connection
        finally:
            with suppress(Exception):
                connection.release()

    @contextmanager
    def _mapping_errors(self, connection: Connection) -> Iterator[None]:
        """Raise BrokerUnavailable for all errors of the connection."""
        try:
            yield
        except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
            raise _unavailable(error) from error


def _keep_logging(**_: Any) -> None:
    """Keep the process's logging. Without a receiver of this signal, Celery sets the level of the root logger."""
    logging.getLogger("celery").setLevel(logging.WARNING)


def _unavailable(error: BaseException) -> BrokerUnavailable:
    """Log only the types of the errors, and the reasons of TLS errors: other messages may contain the URL."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < MAX_CAUSES:
        causes.append(
            f"{type(cause).__name__} ({cause.reason})" if isinstance(cause, ssl.SSLError) else type(cause).__name__
        )
        cause = cause.__cause__ or cause.__context__
    log.error("The broker of caption jobs failed: %s", ", caused by ".join(dict.fromkeys(causes)))
    return BrokerUnavailable("caption jobs cannot be taken at the moment")
