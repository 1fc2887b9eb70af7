"""nginx as compose.yaml configures it, in front of servers that it finds through a test DNS server."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT, skip_unless_ci
from tests.free_port import free_port
from tests.polling import wait_until_listening

TEMPLATE = ROOT / "deploy" / "nginx.conf.template"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())

MAIN = """
user root;  # if it is started by root: the test's folder is root's alone
daemon off;
error_log stderr;
pid {folder}/pid;
events {{}}
http {{
    {temporary}
    {server}
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
A = b"\0\1"  # query type of IPv4 addresses


class Nginx:
    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        """`log` contains standard output and error."""
        self.process = process
        self.log = log
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


@contextmanager
def running_nginx(folder: Path, port: int, server: str) -> Iterator[Nginx]:
    """Start nginx with a `server` block that listens at a port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        skip_unless_ci("no nginx is installed")
    assert program is not None
    temporary = "".join(f"{name}_temp_path {folder}/{name};" for name in TEMPORARY)
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, temporary=temporary, server=server))
    log = folder / "log"
    command = [program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_until_listening(process, port)
        yield Nginx(process, port, log)
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def started_nginx(folder: Path, addresses: Sequence[str], web_port: int) -> Iterator[Nginx]:
    """Start nginx with compose.yaml's configuration and `addresses` for the name `web`.

    Debian's version may differ from compose.yaml's.
    """
    port = free_port()
    with dns_server(addresses) as resolver:
        server = TEMPLATE.read_text()
        for here, there in {
            "${NGINX_LOCAL_RESOLVERS}": resolver,
            "listen 80;": f"listen 127.0.0.1:{port};",
            "http://web;": f"http://web:{web_port};",
        }.items():
            assert here in server
            server = server.replace(here, there)
        with running_nginx(folder, port, server) as nginx:
            yield nginx


@contextmanager
def dns_server(addresses: Sequence[str]) -> Iterator[str]:
    """Answer every query of an IPv4 address with all of `addresses`. Yield the server's address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        host, port = listener.getsockname()

        def serve() -> None:
            while True:
                question, client = listener.recvfrom(512)
                if not question:
                    return
                listener.sendto(answer(question, addresses), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"{host}:{port}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", (host, port))
            thread.join()


def answer(question: bytes, addresses: Sequence[str]) -> bytes:
    end = question.index(0, 12) + 5  # end of name, type and class
    found = addresses if question[end - 4 : end - 2] == A else ()
    head = question[:2] + b"\x81\x80" + b"\0\1" + len(found).to_bytes(2) + b"\0\0\0\0"
    name, lifetime = b"\xc0\x0c", b"\0\0\0\1"  # a pointer to the question's name; seconds
    return (
        head
        + question[12:end]
        + b"".join(name + A + b"\0\1" + lifetime + b"\0\4" + socket.inet_aton(each) for each in found)
    )
