"""Who may use how many of the cores: processes that caption at the same time share them, one that is alone has all."""

import mmap
import os
import sys
import threading
from contextlib import suppress

PLACES = 256  # of processes that can be told apart
NICE, NICEST = 5, 19  # a captioning thread's niceness: of one that requests wait for, and of one that has time

IDLE, BUSY = 1, 2  # what a place says of its process; 0: there is none


class Cores:
    """A table in memory that forked processes share: a byte for each says whether it captions at the moment.

    More threads than cores would wait for each other at the end of every operation.
    """

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._table = mmap.mmap(-1, PLACES)
        self._place = 0
        self.niceness = NICE  # that the captioning thread shall add to its own

    def take_place(self, number: int) -> None:
        """Tell this process from the others that were forked."""
        self._place = number % PLACES
        self._table[self._place] = IDLE

    def withdraw(self) -> None:
        """Share with nobody any more: this process has one core from here on, and what is left of that."""
        self._cores, self._place, self.niceness = 1, 0, NICEST
        self._table = mmap.mmap(-1, PLACES)

    def forget(self, number: int) -> None:
        """The process with this number ended, perhaps while it was captioning."""
        self._table[number % PLACES] = 0

    @property
    def least_part(self) -> int:
        """How many cores this process has when all others caption as well."""
        return max(1, self._cores // max(1, PLACES - self._table[:].count(0)))

    def claim(self) -> int:
        """Give the calling thread this process's part of the cores; again and again, since others come and go."""
        import torch  # as late as can be: `flaskapp.captioner.loading` says why

        self._table[self._place] = BUSY
        part = max(1, self._cores // max(1, self._table[:].count(BUSY)))  # whoever has the same place may just leave it
        if part != torch.get_num_threads():  # setting it empties oneDNN's cache
            torch.set_num_threads(part)
        return part

    def release(self) -> None:
        """Leave the cores to the others."""
        self._table[self._place] = IDLE


def give_way(niceness: int = NICE) -> None:
    """Let others go first: the calling thread, and those that it starts, get a small share while there is other work.

    Requests are answered in between. Where the machine has other servers, theirs are as well.
    """
    if sys.platform == "linux":  # elsewhere only whole processes can be nice
        thread = threading.get_native_id()
        with suppress(OSError):  # some sandboxes allow nobody to be nice
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
