"""The scheduling priority of captioning threads."""

import os
import sys
import threading
from contextlib import suppress

NICE = 5  # a captioning thread's niceness


def lower_priority(niceness: int = NICE) -> None:
    """Lower the priority of the calling thread, and of threads that it starts.

    Web workers, and other programs of the machine, then get the cores first.
    """
    if sys.platform == "linux":  # elsewhere only whole processes can be nice
        thread = threading.get_native_id()
        with suppress(OSError):  # some sandboxes allow no change of priority
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
