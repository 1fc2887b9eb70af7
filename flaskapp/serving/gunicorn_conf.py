"""gunicorn's configuration for `flaskapp serve` and `gunicorn wsgi:app`. The command line takes precedence.

The master imports little: gevent replaces parts of the standard library in each worker, before the application is
imported there.
"""

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from flaskapp import metrics, settings, shared_room, trace_context  # noqa: F401 - its file is for all workers
from flaskapp.machine import usable_cores
from flaskapp.serving import access_log, json_log
from flaskapp.serving.bodies import Bodies
from flaskapp.serving.kept_connections import HEAD
from flaskapp.serving.metrics_files import metrics_files
from flaskapp.serving.privileges import Identity
from flaskapp.serving.processes import Processes
from flaskapp.serving.worker import Worker

worker_class = Worker
workers = min(4, usable_cores())  # they wait most of the time; decoding has threads in each of them
worker_connections = 800  # of each worker; often a process may have 1024 files
timeout = 60  # seconds without a sign of life from a worker; no limit on a request
graceful_timeout = 30  # seconds that requests in flight may take after SIGTERM
keepalive = 75  # seconds without a request: longer than a load balancer keeps its end, most often 60 seconds

worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the sign of life is a file: not on a slow disk
control_socket_disable = True
# No header of any client sets the application's variables or the scheme (TRUSTED_PROXIES is the application's own):
# so it need not be looked up for each request whether its sender may.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = "*"

accesslog = "-"
access_log_format = access_log.FORMAT
with settings.exiting_on_error():
    log_format = settings.read_one("LOG_FORMAT")
    logger_class = json_log.JSONLogger if log_format == "json" else access_log.AccessLogger


def check_settings() -> None:
    """What cannot be used is said once, and not by each worker."""
    json_log.configure(log_format)
    settings.check()


# In a process of its own: it imports the drivers of databases and brokers, which find out at their import whether they
# run under gevent.
checking = multiprocessing.get_context("fork").Process(target=check_settings)
checking.start()
checking.join()
if checking.exitcode != 0:
    sys.exit(1)

BODIES = 16  # of the largest size: bodies of requests have so much memory together, in each worker


def limit_silence(cfg: Any) -> None:
    """Other workers apply the keep-alive time to new connections that send nothing, too: give these HEAD."""
    if not issubclass(cfg.worker_class, Worker) and cfg.keepalive == keepalive:
        cfg.set("keepalive", round(HEAD))


def on_starting(server: Any) -> None:
    limit_silence(server.cfg)
    metrics_files.open(metrics.given_folder(), server.cfg.uid, server.cfg.gid)


def when_ready(server: Any) -> None:
    """Start the processes beside the web workers. Until an engine has loaded the model, `/readyz` answers 503."""

    def halt() -> None:
        """The log has the reason."""
        server.has_bad_setting = True
        os.kill(os.getpid(), signal.SIGTERM)

    server.processes = Processes(Identity.of_workers(server.cfg), halt)


def on_reload(server: Any) -> None:
    limit_silence(server.cfg)
    server.processes.reload()


def pre_fork(server: Any, worker: Any) -> None:
    server.processes.keep()
    taken = [each.metrics_place for each in server.WORKERS.values()]
    worker.metrics_place = metrics_files.make_room(server.processes.metrics_places + taken)


def post_fork(server: Any, worker: Any) -> None:
    """What the worker's application will need, which is not imported yet."""
    metrics_files.enter(worker.metrics_place)
    worker.engines, worker.jobs = server.processes.addresses, server.processes.jobs


def post_worker_init(worker: Any) -> None:
    """Connect the application with the processes beside it. An application of others has none of this."""
    from flaskapp.captioner import captioner

    captioner.connect(worker.engines)
    extensions = getattr(worker.wsgi, "extensions", {})
    if "jobs" in extensions and worker.jobs is not None:

        def leave() -> None:
            """Answer what is under way, and be replaced."""
            worker.alive = False

        extensions["is_stopping"] = lambda: not worker.alive
        extensions["jobs"].on_wait = lambda: worker.jobs.ring(on_loss=leave)
    if worker.age == 1 and "accounts" in extensions:
        warn_of_logins(worker.wsgi.config, extensions["accounts"])
    most = getattr(worker.wsgi, "config", {}).get("MAX_CONTENT_LENGTH") or 2**24
    worker.wsgi = Bodies(worker.wsgi, most=BODIES * most)


def warn_of_logins(config: Any, accounts: Any) -> None:
    """In the first worker, not in the master, which may be root: an SQLite file would belong to root."""
    from flaskapp.accounts import warn_of_unvetted

    threading.Thread(target=warn_of_unvetted, args=(config, accounts), daemon=True).start()


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """What the thread does next belongs to another trace."""
    trace_context.begin(None)


def child_exit(server: Any, worker: Any) -> None:
    metrics_files.leave(worker.metrics_place)


def worker_exit(server: Any, worker: Any) -> None:
    if worker.pid == os.getpid() and os.getppid() != worker.ppid:  # the master was killed
        metrics_files.close()


def on_exit(server: Any) -> None:
    if hasattr(server, "processes"):
        server.processes.stop()
    metrics_files.close()
    if getattr(server, "has_bad_setting", False):
        sys.exit(1)
