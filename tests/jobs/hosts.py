"""Machines on a network of their own, as far as one machine can show them: network namespaces on a bridge.

A host that is cut off receives nothing and gets no error: its packets are lost, as when a cable is pulled at the far
end of a switch. This process is on the bridge at `Network.address`, and so is what it starts; what a thread starts
within `Host.entered` is on that host. Files are not apart: a folder stands for the object store, or the NFS, that real
hosts share.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import skip_unless_ci

NETWORKS = 200  # at once on this machine
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Host:
    """One host. Neighbours know each other by heart, so that no one gets an error for want of an answer to ARP."""

    name: str
    address: str
    bridge: str
    port: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread connects to, listens at and starts during the block, it does on this host."""
        with Path("/proc/thread-self/ns/net").open() as ours, Path("/run/netns", self.name).open() as theirs:
            _set_network(theirs.fileno())
            try:
                yield
            finally:
                _set_network(ours.fileno())

    def cut_off(self) -> None:
        """Pull its cable; `join` plugs it in again. Both from outside: a host does not see where its cable ends."""
        _ip("link", "set", self.port, "nomaster")

    def join(self) -> None:
        _ip("link", "set", self.port, "master", self.bridge)


class Network:
    """A bridge and its hosts. `remove` takes all of them away, whatever became of them."""

    def __init__(self) -> None:
        """Raises OSError where this process may not make one."""
        self._hosts: list[Host] = []
        for number in range(NETWORKS):
            self._bridge, self._net = f"flaskapp{number}", f"198.18.{number}"  # that net is for tests of networks
            try:
                _ip("link", "add", self._bridge, "address", _mac(1), "type", "bridge")
                break
            except FileExistsError:  # another run's
                continue
        else:
            raise OSError(f"there are {NETWORKS} networks already")
        self.address = f"{self._net}.1"
        try:
            _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
            _ip("link", "set", self._bridge, "up")
        except OSError:
            self.remove()
            raise

    def add_host(self) -> Host:
        number = len(self._hosts) + 2
        name = f"{self._bridge}-{number}"
        host = Host(name, f"{self._net}.{number}", self._bridge, port=name)
        self._hosts.append(host)
        _ip("netns", "add", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "address", _mac(number), "netns", name)
        _ip("link", "set", name, "master", self._bridge, "up")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        _ip("-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
        know = ("neighbour", "replace", "nud", "permanent")
        _ip("-n", name, *know, self.address, "lladdr", _mac(1), "dev", "eth0")
        _ip(*know, host.address, "lladdr", _mac(number), "dev", self._bridge)
        return host

    def remove(self) -> None:
        """Processes that still run on a host are alone then."""
        for host in self._hosts:
            _ip("link", "delete", host.port, must=False)
            _ip("netns", "delete", host.name, must=False)
        _ip("link", "delete", self._bridge, must=False)


@contextmanager
def made_network() -> Iterator[Network]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        skip_unless_ci("only root can make network namespaces, with iproute2's `ip`")
    try:
        network = Network()
    except OSError as error:
        skip_unless_ci(f"no network can be made here: {error}")
    try:
        yield network
    finally:
        network.remove()


@pytest.fixture
def network() -> Iterator[Network]:
    with made_network() as network:
        yield network


def _mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def _ip(*arguments: str, must: bool = True) -> None:
    ended = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if must and ended.returncode:
        kind = FileExistsError if "File exists" in ended.stderr else OSError
        raise kind(f"ip {' '.join(arguments)}: {ended.stderr.strip()}")


def _set_network(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")
