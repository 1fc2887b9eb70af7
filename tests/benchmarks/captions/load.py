"""Load generators: a fixed number of clients, or random arrivals."""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Image = TypeVar("Image")


@dataclass(frozen=True)
class Load:
    """The latency of each request, and the total seconds."""

    latencies: list[float]
    elapsed: float

    @property
    def rate(self) -> float:
        """Return captions a second."""
        return len(self.latencies) / self.elapsed

    def percentile(self, percent: float) -> float:
        return float(np.percentile(self.latencies, percent))


def closed_loop(
    send: Callable[[Image], None], images: Sequence[Image], clients: int, seconds: float = math.inf
) -> Load:
    """Let each client send its next image after the answer to its last one, for at most `seconds`."""
    with ThreadPoolExecutor(clients) as pool:
        start = time.perf_counter()

        def send_in_time(image: Image) -> float | None:
            return _time(send, image) if time.perf_counter() - start < seconds else None

        latencies = [latency for latency in pool.map(send_in_time, images) if latency is not None]
        return Load(latencies, time.perf_counter() - start)


def poisson(send: Callable[[Image], None], images: Sequence[Image], rate: float, seed: int = 0) -> Load:
    """Send images at random times, `rate` a second on average, without waiting for answers."""
    pauses = np.random.default_rng(seed).exponential(1 / rate, len(images))
    with ThreadPoolExecutor(len(images)) as pool:
        start = time.perf_counter()
        answers = []
        for image, due in zip(images, np.cumsum(pauses), strict=True):
            time.sleep(max(0.0, start + due - time.perf_counter()))  # the arrival times define the load
            answers.append(pool.submit(_time, send, image))
        latencies = [answer.result() for answer in answers]
    return Load(latencies, time.perf_counter() - start)


def _time(send: Callable[[Image], None], image: Image) -> float:
    start = time.perf_counter()
    send(image)
    return time.perf_counter() - start
