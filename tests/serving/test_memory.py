import subprocess
import sys

import pytest

# Sixteen threads that all have memory at once; then glibc says what arenas there are.
PROGRAM = """
import ctypes, sys, threading
from flaskapp.serving.memory import share_arenas
if int(sys.argv[1]):
    share_arenas(int(sys.argv[1]))
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
all_have_some = threading.Barrier(16)
def take():
    block = libc.malloc(100_000)
    all_have_some.wait(30)
    libc.free(block)
threads = [threading.Thread(target=take) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""


def arenas(most: int) -> int:
    run = subprocess.run([sys.executable, "-c", PROGRAM, str(most)], capture_output=True, text=True, check=True)
    return run.stderr.count("Arena ")


@pytest.mark.skipif(sys.platform != "linux", reason="malloc_stats is glibc's")
def test_threads_share_as_few_arenas_as_they_are_told_to() -> None:
    assert arenas(0) > 2, "or this test would prove nothing"
    assert arenas(2) == 2
