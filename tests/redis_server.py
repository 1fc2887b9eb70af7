"""A Redis server for tests, without persistence: it loses its data when it stops."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import skip_unless_ci
from tests.free_port import free_port

LOCAL = "127.0.0.1"


class RedisServer:
    def __init__(self, program: str, folder: Path, address: str = LOCAL) -> None:
        """Start a server that any client of the address may use."""
        port = free_port(address)
        self._command = [
            program, "--port", str(port), "--bind", address, "--protected-mode", "no",
            "--save", "", "--dir", str(folder),
        ]  # fmt: skip
        self.url = f"redis://{address}:{port}"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert any("Ready to accept connections" in line for line in self._process.stdout)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def started_redis(folder: Path, address: str = LOCAL) -> Iterator[RedisServer]:
    program = shutil.which("redis-server")
    if program is None:
        skip_unless_ci("no Redis server is installed")
    assert program is not None
    folder.mkdir(exist_ok=True)
    server = RedisServer(program, folder, address)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with started_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@dataclass
class TLSRedis:
    """A Redis server with TLS only. `authority` is its self-signed certificate for 127.0.0.1."""

    port: int
    authority: Path

    def url(self, host: str = LOCAL, **parameters: str) -> str:
        """Return a URL with a password, which must not be sent to an untrusted server."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"rediss://:hunter2@{host}:{self.port}/0" + (f"?{query}" if query else "")


@pytest.fixture(scope="module")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TLSRedis]:
    folder = tmp_path_factory.mktemp("tls")
    for program in ("redis-server", "openssl"):
        if shutil.which(program) is None:
            skip_unless_ci(f"{program} is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis",
         "-addext", f"subjectAltName=IP:{LOCAL}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--tls-port", str(port), "--bind", LOCAL, "--save", "", "--dir", folder,
         "--requirepass", "hunter2", "--tls-cert-file", certificate, "--tls-key-file", key,
         "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        if not any("Ready to accept connections" in line for line in process.stdout):
            skip_unless_ci("this Redis server has no TLS")
        yield TLSRedis(port, certificate)
        process.kill()
