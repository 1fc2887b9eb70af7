"""Makes the bare `gunicorn wsgi:app` right. What a command line says (`--workers 4`, `--bind :80`) goes before this."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from gunicorn.util import set_owner_process

from flaskapp import metrics, settings, unvetted_logins
from flaskapp.captioner import captioner
from flaskapp.cpu import usable_cores
from flaskapp.jobs import embedded
from flaskapp.serving import access_log, json_log, memory
from flaskapp.serving.engine_process import EngineProcess
from flaskapp.serving.metrics_files import metrics_files
from flaskapp.serving.worker import Worker, balance

worker_class = Worker
workers = usable_cores()
threads = 128  # of each worker at most, for requests that may wait: CAPTIONER_QUEUE and CAPTIONER_MAX_BATCH, and more
worker_connections = 800  # of each worker; often a process may have 1024 files
timeout = 60  # seconds without a sign of life from a worker's main thread; no limit on a request
graceful_timeout = 30  # seconds that requests in flight may take after SIGTERM
keepalive = 5  # seconds

worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the sign of life is a file: not on a slow disk
control_socket_disable = True
# No header sets the application's variables or the scheme, whoever sends it (TRUSTED_PROXIES is the application's own):
# so it need not be looked up for each request whether its sender may.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = "*"

accesslog = "-"
access_log_format = access_log.FORMAT
with settings.exiting_on_error():
    logger_class = json_log.JSONLogger if settings.read_one("LOG_FORMAT") == "json" else access_log.AccessLogger

RELOAD = 60  # seconds that a new model may take before HUP replaces the workers

preload_app = True  # the workers share the application's memory


def on_starting(server: Any) -> None:
    metrics_files.open(metrics.given_folder(), server.cfg.uid, server.cfg.gid)


def when_ready(server: Any) -> None:
    """Start the engine process, which loads the model. Until it has, `/readyz` answers 503."""
    memory.share_arenas(usable_cores())
    engines = metrics_files.make_room([])
    server.metrics_places = [engines, metrics_files.make_room([engines])]  # the other is the job worker's
    start_engine(server)
    start_jobs(server)


def start_engine(server: Any) -> None:
    def halt() -> None:
        """The log has the reason."""
        server.has_bad_setting = True
        os.kill(os.getpid(), signal.SIGTERM)

    server.has_bad_setting = False
    arguments = metrics_files.arguments(server.metrics_places[0])
    server.engine = EngineProcess(arguments, server.cfg.uid, server.cfg.gid, halt)


def start_jobs(server: Any) -> None:
    jobs = getattr(server.app.wsgi(), "extensions", {}).get("jobs")  # an application of others has none
    if jobs is not None and jobs.queue.is_local:
        embedded.start(
            jobs,
            server.LISTENERS,
            server.engine.address,
            on_work=lambda: metrics_files.enter(server.metrics_places[1]),
            drop_privileges=lambda: set_owner_process(server.cfg.uid, server.cfg.gid, server.cfg.initgroups),
        )


def on_reload(server: Any) -> None:
    """A new engine process for the new workers, with the code and the files that are there now."""
    before = server.engine
    embedded.stop()
    start_engine(server)
    server.engine.wait_until_loaded(RELOAD)  # the old workers serve until then
    before.release()
    start_jobs(server)  # no process that is forked from here on shall keep the old engine alive


def pre_fork(server: Any, worker: Any) -> None:
    embedded.keep()
    taken = [each.metrics_place for each in server.WORKERS.values()]
    worker.metrics_place = metrics_files.make_room(server.metrics_places + taken)


def post_fork(server: Any, worker: Any) -> None:
    def leave() -> None:
        """Answer what is under way, and be replaced."""
        worker.alive = False

    metrics_files.enter(worker.metrics_place)
    captioner.connect(server.engine.address)
    embedded.watch(on_loss=leave)


def post_worker_init(worker: Any) -> None:
    """Warn in the first worker, not in the master, which may be root: an SQLite file would belong to root."""
    extensions = getattr(worker.wsgi, "extensions", {})
    if worker.age == 1 and "accounts" in extensions:
        arguments = (worker.wsgi.config, extensions["accounts"])
        threading.Thread(target=unvetted_logins.warn, args=arguments, daemon=True).start()


def child_exit(server: Any, worker: Any) -> None:
    metrics_files.leave(worker.metrics_place)
    balance.forget(worker.age)


def worker_exit(server: Any, worker: Any) -> None:
    if worker.pid == os.getpid() and os.getppid() != worker.ppid:  # the server was killed: nobody else will do it
        metrics_files.close()


def on_exit(server: Any) -> None:
    embedded.stop()
    if hasattr(server, "engine"):
        server.engine.stop()
    metrics_files.close()
    if getattr(server, "has_bad_setting", False):
        sys.exit(1)
