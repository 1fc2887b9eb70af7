"""The way of a chunk's id to a worker: Celery, over any broker, or through a folder where none is configured."""

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

FOLDER = "filesystem"  # the scheme of a URL of a folder: filesystem:///data/queue
TASK = "flaskapp.caption_chunk"
TIDY = "flaskapp.tidy"
TIDY_EVERY = 600.0  # seconds
QUEUE = "flaskapp-captions"
PATIENCE = 2.0  # seconds that a broker may take to answer a request that submits a job
LONGEST_RETRY = 60  # seconds
SILENT = 5.0  # seconds after which a worker asks a broker that is silent, and then gives its connection up
NOT_FOUND = "404"  # of AMQP
MAX_CAUSES = 10  # logged for one error

Send = Callable[[Iterable[ChunkId]], None]


class Queue:
    """Chunks that wait for a worker. Nothing is opened before the first call, so it may cross a fork."""

    def __init__(self, broker_url: str) -> None:
        url = urlsplit(broker_url)
        self.is_local = url.scheme == FOLDER  # to this machine: its server runs a worker of its own
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
                "socket_connect_timeout": SILENT,  # these are Redis's: a broker that is cut off sends no error
                "socket_timeout": SILENT,
                "health_check_interval": int(SILENT),
            },
            broker_connection_retry_on_startup=True,
            broker_connection_max_retries=None,
            task_default_queue=QUEUE,
            task_ignore_result=True,
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            worker_prefetch_multiplier=1,
            worker_pool="solo",  # the model's thread is the one that works
            worker_concurrency=1,
            worker_hijack_root_logger=False,
            worker_redirect_stdouts=False,
            worker_enable_remote_control=not self.is_local,
            worker_cancel_long_running_tasks_on_connection_loss=False,
            beat_scheduler="celery.beat:Scheduler",  # the default one keeps a file
            beat_schedule={"tidy": {"task": TIDY, "schedule": TIDY_EVERY}},
        )

    @property
    def has_been_used(self) -> bool:
        """Whether there may be messages. False only if the folder is missing."""
        return self._folder is None or self._folder.exists()

    def worker(self) -> Any:
        """A Celery worker that does one chunk at a time. Its `start` returns even after what it calls unrecoverable."""
        setup_logging.connect(_keep_logging)
        return self.celery.Worker(
            pool="solo", quiet=True, without_gossip=True, without_mingle=True, without_heartbeat=True
        )

    def prepare(self) -> None:
        """Make the folders of a queue in a folder. Raises OSError."""
        if self._folder is not None:
            transport = "flaskapp.jobs.folder_queue:Transport"
            options = self.celery.conf.broker_transport_options | folder_queue.options(self._folder)
            self.celery.conf.update(broker_transport=transport, broker_transport_options=options)

    def register(self, caption_chunk: Callable[[str, int], None], tidy: Callable[[], None]) -> None:
        """Say what the tasks do. A database that is down delays them; they save every other outcome in it."""
        self.celery.task(
            name=TASK,
            shared=False,  # not with the applications of others
            autoretry_for=(DatabaseUnavailable,),
            retry_backoff=True,
            retry_backoff_max=LONGEST_RETRY,
            max_retries=None,
        )(caption_chunk)
        self.celery.task(name=TIDY, shared=False)(tidy)

    @contextmanager
    def open(self) -> Iterator[Send]:
        """A way to send, over one connection. Raises BrokerUnavailable at once where there is none."""
        with self._connect() as connection:

            def send(chunks: Iterable[ChunkId]) -> None:
                with self._failing(connection), Producer(connection) as producer:
                    for chunk in chunks:
                        self.celery.send_task(TASK, args=list(chunk), producer=producer, retry=False)

            yield send

    def is_empty(self) -> bool:
        """Whether no message waits. Raises BrokerUnavailable."""
        with self._connect() as connection, self._failing(connection):
            try:
                return int(connection.default_channel.queue_declare(QUEUE, passive=True).message_count) == 0
            except connection.channel_errors as error:
                if str(getattr(error, "reply_code", "")) == NOT_FOUND:  # in Redis, a queue without messages is none
                    return True
                raise

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        try:
            self.prepare()
        except OSError as error:
            raise _unavailable(error) from error
        timeouts = {"socket_connect_timeout": PATIENCE, "socket_timeout": PATIENCE}
        options = timeouts if not self.is_local else {}
        connection = self.celery.connection_for_write(connect_timeout=PATIENCE, transport_options=options)
        try:
            with self._failing(connection):
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=PATIENCE)
                connection.default_channel  # noqa: B018 - the first that goes to the broker
            yield connection
        finally:
            with suppress(Exception):
                connection.release()

    @contextmanager
    def _failing(self, connection: Connection) -> Iterator[None]:
        try:
            yield
        except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
            raise _unavailable(error) from error


def _keep_logging(**_: Any) -> None:
    """Log as the process does. Without a receiver of its signal, Celery sets the root logger to its own level."""
    logging.getLogger("celery").setLevel(logging.WARNING)


def _unavailable(error: BaseException) -> BrokerUnavailable:
    """Log the types of the errors only, and the reasons of TLS errors: other messages may contain the URL."""
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < MAX_CAUSES:
        causes.append(
            f"{type(cause).__name__} ({cause.reason})" if isinstance(cause, ssl.SSLError) else type(cause).__name__
        )
        cause = cause.__cause__ or cause.__context__
    log.error("The broker of caption jobs failed: %s", ", caused by ".join(dict.fromkeys(causes)))
    return BrokerUnavailable("caption jobs cannot be taken at the moment")
