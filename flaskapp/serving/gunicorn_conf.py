"""gunicorn's configuration for `flaskapp serve` and `gunicorn wsgi:app`. The command line takes precedence.

The master imports little: gevent must patch the standard library in each worker before the application is imported.
"""

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from flaskapp import metrics, settings, shared_room, trace_context  # noqa: F401 - creates the file that all workers share
from flaskapp.machine import usable_cores
from flaskapp.serving import access_log, boot_signals, json_log
from flaskapp.serving.bodies import Bodies
from flaskapp.serving.kept_connections import HEAD_TIMEOUT
from flaskapp.serving.metrics_files import metrics_files
from flaskapp.serving.privileges import Identity
from flaskapp.serving.processes import Processes
from flaskapp.serving.worker import Worker

worker_class = Worker
workers = min(4, usable_cores())  # they mostly wait; each decodes images in threads
worker_connections = 800  # per worker; many systems allow 1024 open files per process
timeout = 60  # seconds without a heartbeat of a worker; not a limit on a request
graceful_timeout = 30  # seconds for requests in flight after SIGTERM
keepalive = 75  # seconds; longer than the idle time-out of most load balancers, 60 seconds

worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # for the heartbeat files: not on a slow disk
control_socket_disable = True
# No header of a client sets variables or the scheme; the application has its own TRUSTED_PROXIES. So gunicorn can skip
# the check of each client's address.
forwarder_headers = ""
secure_scheme_headers: dict[str, str] = {}
forwarded_allow_ips = "*"

accesslog = "-"
access_log_format = access_log.FORMAT
with settings.exiting_on_error():
    log_format = settings.read_one("LOG_FORMAT")
    logger_class = json_log.JSONLogger if log_format == "json" else access_log.AccessLogger


def check_settings() -> None:
    """Report bad settings once, not in each worker."""
    json_log.configure(log_format)
    settings.check()


# In a separate process: the check imports drivers of databases and brokers, which detect gevent when they are imported.
checking = multiprocessing.get_context("fork").Process(target=check_settings)
checking.start()
checking.join()
if checking.exitcode != 0:
    sys.exit(1)

BUFFERED_BODIES = 16  # maximum buffered request bytes of a worker, in multiples of MAX_UPLOAD_MB


def limit_keepalive(cfg: Any) -> None:
    """Use HEAD_TIMEOUT for other worker classes, which apply the keep-alive time also to new connections."""
    if not issubclass(cfg.worker_class, Worker) and cfg.keepalive == keepalive:
        cfg.set("keepalive", round(HEAD_TIMEOUT))


def on_starting(server: Any) -> None:
    limit_keepalive(server.cfg)
    metrics_files.open(metrics.given_folder(), server.cfg.uid, server.cfg.gid)


def when_ready(server: Any) -> None:
    """Start the processes beside the web workers. Until an engine has loaded the model, `/readyz` answers 503."""

    def halt() -> None:
        """Stop the server. The engine has logged the reason."""
        server.has_bad_setting = True
        os.kill(os.getpid(), signal.SIGTERM)

    server.processes = Processes(Identity.of_workers(server.cfg), halt)


def on_reload(server: Any) -> None:
    limit_keepalive(server.cfg)
    server.processes.reload()


def pre_fork(server: Any, worker: Any) -> None:
    server.processes.keep()
    taken = [each.metrics_slot for each in server.WORKERS.values()]
    worker.metrics_slot = metrics_files.allocate(server.processes.metrics_slots + taken)


def post_fork(server: Any, worker: Any) -> None:
    """Handle signals during the boot, and keep what the worker's application needs after its import."""
    boot_signals.exit_on_signals(server.SIG_QUEUE)  # an undocumented attribute of gunicorn's Arbiter
    metrics_files.use(worker.metrics_slot)
    worker.engines, worker.jobs = server.processes.addresses, server.processes.jobs


def post_worker_init(worker: Any) -> None:
    """Connect the application with the other processes. Applications other than flaskapp lack its extensions."""
    from flaskapp.captioner import captioner

    captioner.connect(worker.engines)
    extensions = getattr(worker.wsgi, "extensions", {})
    if "jobs" in extensions and worker.jobs is not None:

        def stop_worker() -> None:
            """Finish the requests in flight, and let gunicorn replace this worker."""
            worker.alive = False

        extensions["is_stopping"] = lambda: not worker.alive
        extensions["jobs"].on_wait = lambda: worker.jobs.notify(on_loss=stop_worker)
    if worker.age == 1 and "accounts" in extensions:
        warn_of_logins(worker.wsgi.config, extensions["accounts"])
    max_upload = getattr(worker.wsgi, "config", {}).get("MAX_CONTENT_LENGTH") or 2**24
    worker.wsgi = Bodies(worker.wsgi, max_bytes=BUFFERED_BODIES * max_upload)


def warn_of_logins(config: Any, accounts: Any) -> None:
    """Warn in the first worker. The master may be root, which would then own the SQLite file."""
    from flaskapp.accounts import warn_of_unvetted

    threading.Thread(target=warn_of_unvetted, args=(config, accounts), daemon=True).start()


def post_request(worker: Any, request: Any, environ: Any, response: Any) -> None:
    """End the trace of the request, because the thread continues with others."""
    trace_context.begin(None)


def child_exit(server: Any, worker: Any) -> None:
    metrics_files.release(worker.metrics_slot)


def worker_exit(server: Any, worker: Any) -> None:
    if worker.pid == os.getpid() and os.getppid() != worker.ppid:  # the master was killed
        metrics_files.close()


def on_exit(server: Any) -> None:
    if hasattr(server, "processes"):
        server.processes.stop()
    metrics_files.close()
    if getattr(server, "has_bad_setting", False):
        sys.exit(1)
