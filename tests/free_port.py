import socket


def free_port(address: str = "127.0.0.1") -> int:
    """Return a free port of this machine."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port
