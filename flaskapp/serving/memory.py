"""What the C library keeps of the memory that was freed."""

import ctypes
from contextlib import suppress

M_ARENA_MAX = -8  # of glibc's malloc.h


def share_arenas(most: int) -> None:
    """Let all threads take memory from so many arenas, where the C library is glibc. Before threads are started.

    Without a bound there are eight for each core, and what is freed in one is of no use to the others: large images
    that many threads decode one after the other would each leave theirs.
    """
    with suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, most)
