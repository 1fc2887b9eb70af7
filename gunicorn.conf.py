"""Makes the bare `gunicorn wsgi:app` right. What a command line says (`--workers 4`, `--bind :80`) goes before this."""

import gc
import os
import threading
from pathlib import Path
from typing import Any

from gunicorn.util import set_owner_process

from flaskapp import metrics, settings, unvetted_logins
from flaskapp.captioner import captioner
from flaskapp.cpu import usable_cores
from flaskapp.errors import CaptionerUnavailable, InvalidSetting
from flaskapp.jobs import embedded
from flaskapp.serving import access_log, json_log, memory, stop_signals
from flaskapp.serving.metrics_files import metrics_files
from flaskapp.serving.worker import Worker, balance

worker_class = Worker
workers = usable_cores()  # captions are arithmetic: more processes than cores only take turns
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

# The master makes the application and loads the model once; its workers share that memory until they write to it.
preload_app = True


def on_starting(server: Any) -> None:
    metrics_files.open(metrics.given_folder(), server.cfg.uid, server.cfg.gid)


def when_ready(server: Any) -> None:
    """Load the model before the first worker is forked. Without one the server runs on: `/caption/` answers 503."""
    captioner.prepare_to_fork()
    memory.share_arenas(usable_cores())
    try:
        with stop_signals.interrupting():
            captioner.check_device()
            captioner.load()
    except KeyboardInterrupt:
        gc.freeze()  # Python's last collection would take seconds, with torch in memory
        server.halt()
    except InvalidSetting as error:
        server.halt(str(error), exit_status=1)
    except CaptionerUnavailable as error:
        server.log.error("%s", error)
    gc.collect()
    gc.freeze()  # what lives now will not be looked at by the collector, which would copy the pages it is on
    server.metrics_places = []
    jobs = getattr(server.app.wsgi(), "extensions", {}).get("jobs")  # an application of others has none
    if jobs is not None and jobs.queue.is_local:
        server.metrics_places = [metrics_files.make_room([])]
        embedded.start(
            jobs,
            server.LISTENERS,
            on_work=lambda: metrics_files.enter(*server.metrics_places),
            drop_privileges=lambda: set_owner_process(server.cfg.uid, server.cfg.gid, server.cfg.initgroups),
        )


def pre_fork(server: Any, worker: Any) -> None:
    embedded.keep()
    taken = [each.metrics_place for each in server.WORKERS.values()]
    worker.metrics_place = metrics_files.make_room(server.metrics_places + taken)


def post_fork(server: Any, worker: Any) -> None:
    def leave() -> None:
        """Answer what is under way, and be replaced."""
        worker.alive = False

    metrics_files.enter(worker.metrics_place)
    captioner.continue_after_fork(worker.age, on_death=leave)
    embedded.watch(on_loss=leave)


def post_worker_init(worker: Any) -> None:
    """Warn in the first worker, not in the master, which may be root: an SQLite file would belong to root."""
    captioner.load_in_background()  # if the hub did not offer the model before the fork
    extensions = getattr(worker.wsgi, "extensions", {})
    if worker.age == 1 and "accounts" in extensions:
        arguments = (worker.wsgi.config, extensions["accounts"])
        threading.Thread(target=unvetted_logins.warn, args=arguments, daemon=True).start()


def child_exit(server: Any, worker: Any) -> None:
    captioner.worker_ended(worker.age)
    metrics_files.leave(worker.metrics_place)
    balance.forget(worker.age)


def worker_exit(server: Any, worker: Any) -> None:
    if worker.pid == os.getpid():
        captioner.close()  # a warm-up may run: a process that ends while torch computes is aborted
    if worker.pid == os.getpid() and os.getppid() != worker.ppid:  # the server was killed: nobody else will do it
        metrics_files.close()


def on_exit(server: Any) -> None:
    embedded.stop()
    metrics_files.close()
