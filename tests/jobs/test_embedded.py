"""The worker that a server without a broker runs."""

import grp
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import requests
from flask import Flask

from flaskapp.captioner import GenerationSettings
from flaskapp.errors import DatabaseUnavailable
from flaskapp.jobs import Limits, NamedFile, embedded
from flaskapp.jobs.queue import QUEUE
from flaskapp.machine import NICE
from flaskapp.serving import job_process
from flaskapp.serving.job_process import JobProcess
from flaskapp.serving.privileges import Identity
from tests.conftest import Server, skip_unless_ci
from tests.jobs.cluster import poll_until, results, scene, status_of, submit
from tests.serving.servers import identity
from tests.serving.test_metrics_files import total

IMAGES = 96


def children(pid: int) -> dict[int, int]:
    """Return the niceness of a process's forked children by pid. The engine host is started, not forked."""
    listed = subprocess.run(["ps", "-o", "pid=,ni=,args=", "--ppid", str(pid)], capture_output=True, text=True)
    lines = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return {int(process): int(nice) for process, nice, command in lines if "engine_host" not in command}


def nicenesses(pid: int) -> set[int]:
    """Return the nicenesses of a process's threads."""
    return {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in Path(f"/proc/{pid}/task").iterdir()}


def supervisor_of(server: Server) -> int:
    workers = {int(line.rpartition(" ")[2]) for line in server.lines if "Booting worker with pid" in line}
    (supervisor,) = children(server.process.pid).keys() - workers
    return supervisor


def finish_job(server: Server) -> None:
    """Run a job of one image to its end."""
    poll_until(lambda status: status["state"] == "done", partial(status_of, submit(server.url, [scene(0)[0]])), 120)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"FLASKAPP_DATABASE_URL": f"sqlite:///{tmp_path / 'jobs.db'}", "FLASKAPP_CAPTIONER_MAX_BATCH": "8"}


@pytest.mark.slow
def test_the_first_job_starts_a_low_priority_worker_that_ends_with_the_server(
    start_server: Callable[..., Server], settings: dict[str, str]
) -> None:
    server = start_server("--workers", "1", **settings)
    supervisor = supervisor_of(server)
    assert children(supervisor) == {}, "without a job there is no worker"
    scenes = [scene(number) for number in range(20)]
    job = submit(server.url, [image for image, _ in scenes])
    poll_until(lambda status: status["state"] == "done", partial(status_of, job), 120)
    right = sum(result["captions"] == [caption] for result, (_, caption) in zip(results(job), scenes, strict=True))
    assert right >= 19
    (worker,) = children(supervisor)
    assert total(server, "captions_total") == len(scenes)
    usual = children(server.process.pid)[supervisor]
    assert nicenesses(worker) == {usual, min(19, usual + NICE)}, (
        "the lease renewer, which does I/O, keeps the usual niceness"
    )
    server.stop()
    assert not is_alive(supervisor)
    assert not is_alive(worker)


@pytest.mark.slow
def test_a_job_survives_a_killed_worker_and_a_killed_server(
    start_server: Callable[..., Server], settings: dict[str, str]
) -> None:
    server = start_server("--workers", "1", **settings)
    supervisor = supervisor_of(server)
    images = [scene(number)[0] for number in range(IMAGES)]
    job = submit(server.url, images)
    poll_until(lambda status: status["done"] >= IMAGES // 6, partial(status_of, job), 120)
    (worker,) = children(supervisor)
    os.kill(worker, signal.SIGKILL)
    server.wait_for("The worker of caption jobs died")
    poll_until(lambda status: status["done"] >= IMAGES // 2, partial(status_of, job), 120)
    (worker,) = children(supervisor)
    server.process.kill()
    server.process.wait(10)
    again = start_server("--workers", "1", **settings)
    assert not is_alive(worker)
    assert not is_alive(supervisor)
    job = job.replace(server.url, again.url)
    status = poll_until(lambda status: status["state"] == "done", partial(status_of, job), 120)
    assert (status["done"], status["failed"]) == (IMAGES, 0)
    assert [result["index"] for result in results(job)] == list(range(IMAGES))


@pytest.mark.slow
def test_a_failed_worker_is_replaced_after_a_pause(
    start_server: Callable[..., Server], settings: dict[str, str], tmp_path: Path
) -> None:
    server = start_server("--workers", "1", **settings)
    messages = tmp_path / "jobs-jobs" / "queue" / "messages"
    messages.mkdir(parents=True)
    (messages / f"0.{QUEUE}.msg").write_text("{")  # makes Celery exit
    finish_job(server)
    server.wait_for("The worker of caption jobs died; the next one starts in 2 seconds")


@pytest.mark.slow
def test_the_supervisor_survives_signals_for_the_master_and_is_replaced_when_it_is_killed(
    start_server: Callable[..., Server], settings: dict[str, str]
) -> None:
    server = start_server("--workers", "1", **settings)
    supervisor = supervisor_of(server)
    for name in ("HUP", "USR1", "USR2", "WINCH", "TTIN", "TTOU", "INT"):
        os.kill(supervisor, getattr(signal, f"SIG{name}"))
    finish_job(server)
    assert children(supervisor)
    os.kill(supervisor, signal.SIGKILL)
    finish_job(server)
    server.wait_for("The supervisor of caption jobs died; the next one starts")
    server.wait_for("Booting worker", times=2)
    assert server.stop() == 0


def test_work_is_found_although_old_jobs_cannot_be_removed(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_app().extensions["jobs"]
    files = [NamedFile("star.png", scene(0)[0])]
    jobs.submit(files, Limits(images=1, bytes=2**20), GenerationSettings(), "", None)

    def fail() -> None:
        raise DatabaseUnavailable("a lock is held for long")

    monkeypatch.setattr(jobs, "tidy", fail)
    supervisor = embedded.Supervisor(jobs, notifications=0, master=0, engines=[], share_metrics=lambda: None)
    supervisor._poll()
    assert supervisor._has_work


@pytest.mark.parametrize("options", [(), ("--initgroups",)])
def test_the_supervisor_drops_privileges_like_web_workers(
    start_server: Callable[..., Server], settings: dict[str, str], options: tuple[str, ...]
) -> None:
    if os.geteuid() != 0:
        skip_unless_ci("only root can run workers as another user")
    group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid).gr_name
    server = start_server("--workers", "1", "--user", "nobody", "--group", group, *options, **settings)
    worker = int(server.wait_for("Booting worker").rpartition(" ")[2])
    unprivileged = str(pwd.getpwnam("nobody").pw_uid)
    poll_until(lambda ids: ids["Uid"] == [unprivileged] * 4, partial(identity, worker), 30)
    supervisor = poll_until(lambda ids: ids["Uid"] == [unprivileged] * 4, partial(identity, supervisor_of(server)), 30)
    number = str(grp.getgrnam(group).gr_gid)
    assert supervisor["Gid"] == [number] * 4
    assert supervisor["Groups"] == ([number] if options else [])
    assert server.stop() == 0


@pytest.fixture
def stubborn_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> JobProcess:
    """Return a process that ignores SIGTERM, of a master with a short timeout."""
    ignores_sigterm = tmp_path / "ignores-sigterm"
    monkeypatch.setattr(job_process, "COMMAND", ("sh", "-c", f"trap '' TERM; touch {ignores_sigterm}; exec sleep 60"))
    monkeypatch.setattr(job_process, "STOP_TIMEOUT", 0.2)
    process = JobProcess("", [], Identity(os.getuid(), os.getgid()))
    poll_until(bool, ignores_sigterm.exists, 30)
    return process


def test_a_supervisor_that_does_not_stop_is_killed(stubborn_process: JobProcess) -> None:
    start = time.monotonic()
    stubborn_process.stop()
    assert stubborn_process._process.wait(10) == -signal.SIGKILL
    assert time.monotonic() - start < 30


def test_a_supervisor_is_replaced_once_it_has_ended(stubborn_process: JobProcess) -> None:
    first = stubborn_process._process
    stubborn_process.keep()
    assert stubborn_process._process is first
    first.kill()
    first.wait(30)
    stubborn_process.keep()
    assert stubborn_process._process is not first
    stubborn_process.stop()


@pytest.mark.slow
def test_a_server_with_a_broker_runs_no_worker(start_server: Callable[..., Server]) -> None:
    server = start_server("--workers", "1", FLASKAPP_BROKER_URL="redis://127.0.0.1:1")
    assert len(children(server.process.pid)) == 1
    answer = requests.post(server.url + "/caption_jobs/", files={"data": ("x.png", b"x")}, timeout=30)
    assert answer.status_code == 503
    assert requests.get(server.url, timeout=30).status_code == 200
