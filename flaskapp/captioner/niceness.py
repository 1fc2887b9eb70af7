"""How much of the cores captioning takes where other processes want them."""

import os
import sys
import threading
from contextlib import suppress

NICE = 5  # a captioning thread's niceness


def give_way(niceness: int = NICE) -> None:
    """Let others go first: the calling thread, and those that it starts, get a small share while there is other work.

    Requests are answered in between. Where the machine has other servers, theirs are as well.
    """
    if sys.platform == "linux":  # elsewhere only whole processes can be nice
        thread = threading.get_native_id()
        with suppress(OSError):  # some sandboxes allow no change of priority
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
