"""Simulated hosts on a private network: network namespaces on a bridge.

A disconnected host receives nothing and gets no error: its packets are lost, as when a cable is pulled at the far end
of a switch. This process and its children are on the bridge at `Network.address`; children that a thread starts within
`Host.entered` are on that host. All hosts share one file system, like real hosts with an object store or NFS.
"""

import ctypes
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import skip_unless_ci

NETWORKS = 200  # on this machine at the same time
CLONE_NEWNET = 0x40000000
LOCK = Path(tempfile.gettempdir()) / "flaskapp-test-addresses.lock"


@contextmanager
def same_addresses() -> Iterator[None]:
    """Let no test change this machine's addresses during the block: Chromium fails its requests when they change."""
    with _locked(fcntl.LOCK_SH):
        yield


@dataclass(frozen=True)
class Host:
    """One host. ARP entries are permanent, so that a missing ARP answer causes no error."""

    name: str
    address: str
    bridge: str
    port: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move this thread to the host's network during the block."""
        with Path("/proc/thread-self/ns/net").open() as ours, Path("/run/netns", self.name).open() as theirs:
            _set_network(theirs.fileno())
            try:
                yield
            finally:
                _set_network(ours.fileno())

    def cut_off(self) -> None:
        """Disconnect the host from the bridge, without a sign on the host. `join` connects it again."""
        _ip("link", "set", self.port, "nomaster")

    def join(self) -> None:
        _ip("link", "set", self.port, "master", self.bridge)


class Network:
    """A bridge and its hosts. `remove` removes all of them."""

    def __init__(self) -> None:
        """Create the bridge. Raise OSError if this process may not."""
        self._hosts: list[Host] = []
        for number in range(NETWORKS):
            self._bridge, self._net = f"flaskapp{number}", f"198.18.{number}"  # reserved for network tests (RFC 2544)
            try:
                _ip("link", "add", self._bridge, "address", _mac(1), "type", "bridge")
                break
            except FileExistsError:  # used by another run
                continue
        else:
            raise OSError(f"there are {NETWORKS} networks already")
        self.address = f"{self._net}.1"
        try:
            _no_address_of_its_own(self._bridge)
            with _locked(fcntl.LOCK_EX):
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
        _no_address_of_its_own(name)
        _ip("link", "set", name, "master", self._bridge, "up")
        for device in ("lo", "eth0"):
            _ip("-n", name, "link", "set", device, "up")
        _ip("-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
        know = ("neighbour", "replace", "nud", "permanent")
        _ip("-n", name, *know, self.address, "lladdr", _mac(1), "dev", "eth0")
        _ip(*know, host.address, "lladdr", _mac(number), "dev", self._bridge)
        return host

    def remove(self) -> None:
        """Remove the bridge and the hosts. Processes still running on a host lose their network."""
        for host in self._hosts:
            _ip("link", "delete", host.port, must=False)
            _ip("netns", "delete", host.name, must=False)
        with _locked(fcntl.LOCK_EX):
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


@contextmanager
def _locked(operation: int) -> Iterator[None]:
    with LOCK.open("w") as lock:
        fcntl.flock(lock, operation)
        yield


def _no_address_of_its_own(device: str) -> None:
    """Linux would give a device that comes up an IPv6 address, a second later."""
    _ip("link", "set", device, "addrgenmode", "none")


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
