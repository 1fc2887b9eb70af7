"""The simulated hosts of other tests."""

import socket
import subprocess

import pytest

from tests.jobs.hosts import Host, Network, network

__all__ = ["network"]  # a fixture


def names_of_networks() -> str:
    show = [["ip", "-oneline", "link", "show"], ["ip", "netns", "list"]]
    return "".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in show)


def connects(host: Host, port: int, address: str) -> bool:
    with host.entered():
        try:
            socket.create_connection((address, port), timeout=0.5).close()
        except TimeoutError:
            return False
    return True


def test_a_disconnected_host_gets_no_packets_and_no_errors_until_it_joins_again(network: Network) -> None:
    cut, other = network.add_host(), network.add_host()
    with socket.create_server((network.address, 0)) as listener:
        port = listener.getsockname()[1]
        assert connects(cut, port, network.address)
        cut.cut_off()
        assert not connects(cut, port, network.address), "there is no reset and no ICMP error"
        assert connects(other, port, network.address)
        cut.join()
        assert connects(cut, port, network.address)


def test_a_host_s_localhost_is_not_reachable_from_outside(network: Network) -> None:
    host = network.add_host()
    with host.entered():
        listener = socket.create_server(("127.0.0.1", 0))
    with listener, pytest.raises(ConnectionRefusedError):
        socket.create_connection(listener.getsockname(), timeout=1)


def test_a_network_is_removed_completely_after_a_failed_host(network: Network) -> None:
    name = network.add_host().name
    second = Network()
    second.add_host()
    assert name in names_of_networks()
    subprocess.run(["ip", "netns", "add", f"{second._bridge}-3"], check=True)  # the third host's name
    try:
        with pytest.raises(FileExistsError):
            second.add_host()
    finally:
        second.remove()
    assert second._bridge not in names_of_networks()
    assert name in names_of_networks(), "other namespaces are kept"
