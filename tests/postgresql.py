"""A PostgreSQL server for tests."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.conftest import skip_unless_ci
from tests.free_port import free_port


class PostgreSQL:
    """A server in a folder that the user postgres can reach. It listens on a Unix socket there.

    With an address it also listens there, and trusts all hosts of that network.
    """

    def __init__(self, programs: Path, folder: Path, address: str = "") -> None:
        self._programs, self.folder, self._address = programs, folder, address
        self.url = f"postgresql://flaskapp@{address}/postgres" + ("" if address else f"?host={folder}")
        self._run("initdb", "--auth=trust", "--username=flaskapp")
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write("host all all samenet trust\n")
        self.start()

    def start(self) -> None:
        options = f"-c listen_addresses='{self._address}' -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "start", "--wait", "--log", str(self.folder / "log"), "--options", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "--wait", "--mode", "fast")

    @property
    def pid(self) -> int:
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def empty(self) -> None:
        """Drop everything that earlier tests created."""
        engine = create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
        engine.dispose()

    def _run(self, program: str, *arguments: str) -> None:
        command = ["runuser", "-u", "postgres", "--", self._programs / program, "-D", self.folder / "data"]
        subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=self.folder)


@contextmanager
def started_postgresql(address: str = "") -> Iterator[PostgreSQL]:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        skip_unless_ci("no PostgreSQL server is installed")
    if os.geteuid() != 0:
        skip_unless_ci("only root can start a PostgreSQL server as another user")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:  # not pytest's folder, which only root can read
        folder = Path(name)
        shutil.chown(folder, "postgres")
        server = PostgreSQL(programs[-1], folder, address)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def started_pgbouncer(server: PostgreSQL, mode: str) -> Iterator[str]:
    """Start PgBouncer with two connections to a server. Yield the URL for clients."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        skip_unless_ci("no PgBouncer is installed")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        shutil.chown(folder, "postgres")
        (folder / "users").write_text('"flaskapp" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\npostgres = host={server.folder}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir = {folder}\n"
            f"auth_type = trust\nauth_file = {folder}/users\npool_mode = {mode}\n"
            f"default_pool_size = {2 if mode == 'transaction' else 20}\n"
        )
        command = ["runuser", "-u", "postgres", "--", str(program), str(folder / "pgbouncer.ini")]
        with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any("process up" in line for line in process.stderr)
            reader = threading.Thread(target=process.stderr.read)  # prevents blocking on a full pipe
            reader.start()
            try:
                yield f"postgresql://flaskapp@127.0.0.1:{port}/postgres"
            finally:
                process.terminate()
                reader.join(10)
                process.kill()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """Yield one server for all tests."""
    with started_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Yield the URL of an empty SQLite or PostgreSQL database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    server.empty()
    yield server.url
