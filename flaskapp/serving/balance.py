"""How many connections each worker has: whoever has more than the others lets them take the next one."""

import mmap

PLACES = 256  # of workers that can be told apart
SLACK = 8  # nobody is ahead with up to an eighth more connections


class Balance:
    """A table in memory that forked workers share. 0 stands for no worker, else it is one more than its connections."""

    def __init__(self) -> None:
        self._table = memoryview(mmap.mmap(-1, 2 * PLACES)).cast("H")
        self._place = 0

    def take_place(self, number: int) -> None:
        """Tell this worker from the others that were forked."""
        self._place = number % PLACES
        self.tell(0)

    def forget(self, number: int) -> None:
        """The worker with this number ended."""
        self._table[number % PLACES] = 0

    def tell(self, connections: int) -> None:
        """Let the others know how many this worker has."""
        self._table[self._place] = min(connections + 1, 2**16 - 1)

    @property
    def is_ahead(self) -> bool:
        """Whether some other worker has fewer; of many connections, clearly fewer.

        To wait for the other costs a moment, and a burst would cost hundreds of them for shares that are exact.
        """
        fewest = min(filter(None, self._table.tolist()), default=0)
        return self._table[self._place] - fewest > fewest // SLACK
