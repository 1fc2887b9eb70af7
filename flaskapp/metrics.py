"""The metrics, under Prometheus' conventions. `current` are those of this process; `share` adds other processes'."""

import glob
import logging
import math
import os
import time
from collections.abc import Iterable, Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import ClassVar

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from flaskapp import __version__
from flaskapp.errors import MetricsUnavailable

log = logging.getLogger(__name__)

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
UNKNOWN = "unknown"  # the route of a path that is none, and of what never became a request
OTHER = "other"  # a method that HTTP does not define
NO_PLACE = "the workers have no place to add up their metrics: the log says why"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the variable that prometheus_client reads
PARTIAL = "partial"  # a file in the folder that says that some process has no files there
MOST_SERIES = 300  # of method, route and status: the files that they are in must not grow

WAITING = "captioner_oldest_waiting_seconds"
DURATION, REQUESTS = "flaskapp_http_request_duration_seconds", "flaskapp_http_requests"
SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64)

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # when a counter began is of no use here


class Metrics:
    def __init__(self, folder: Path | None = None, is_partial: bool = False) -> None:
        """In memory, or in a folder whose files of all processes are added up.

        `is_partial`: there are other processes, and no folder. These must not be taken for all.
        """
        self._folder, self._is_partial = folder, is_partial
        self._registry = CollectorRegistry()
        counter = partial(Counter, namespace="flaskapp", registry=self._registry)
        histogram = partial(Histogram, namespace="flaskapp", registry=self._registry)
        gauge = partial(Gauge, namespace="flaskapp", registry=self._registry, multiprocess_mode="livesum")
        labels = ("method", "route", "status")
        self._duration = Histogram(
            DURATION,
            "From a request's head to its answer",
            labels,
            registry=self._registry,
            buckets=SECONDS,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}
        self._refusals = counter("http_refusals_total", "What never became a request and was refused", ["status"])
        self._errors = counter("errors_total", "Requests that got an error of ours, by its name", ["error"])
        self._captions = counter("captions_total", "Captions that were made", ["model"])
        self._images = counter(
            "captioner_images_total", "Images that were captioned, the warm-up's included, by the decoder", ["decoder"]
        )
        self.cache_hits = counter("captioner_cache_hits_total", "Images whose captions were known, or under way")
        self._decoder = gauge(
            "captioner_decoder",
            "1 for the decoder that takes the default settings",
            ["model", "decoder"],
            multiprocess_mode="livemax",
        )
        self._tokens = counter("captioner_tokens_total", "Tokens of the captions that were made")
        self.batch = histogram("captioner_batch_images", "Images that began together", buckets=IMAGES)
        self._waiting = gauge("captioner_waiting_images", "Images that wait for a batch")
        self._waiting_since = gauge(
            WAITING,
            "Seconds that the first image in the queue has waited; those of caption jobs do not count",
            multiprocess_mode="livemin",
        )
        self._waiting_since.set(math.inf)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered. `route` is a rule of the application, never a path that a client made up."""
        key = method if method in METHODS else OTHER, route, status
        series = self._series.get(key) or self._add_series(*key)
        series.observe(seconds)

    def count_refusal(self, status: HTTPStatus) -> None:
        """Something came that the application never saw, and was refused."""
        self._refusals.labels(status.value).inc()

    def count_error(self, error: Exception) -> None:
        """A request got this answer."""
        self._errors.labels(type(error).__name__).inc()

    def count_captions(self, model: str, number: int) -> None:
        self._captions.labels(model).inc(number)

    def count_image(self, is_fast: bool, tokens: int) -> None:
        """An image was captioned, by the fast decoder or by `generate`."""
        self._images.labels("fast" if is_fast else "generate").inc()
        self._tokens.inc(tokens)

    def set_decoder(self, model: str, decoder: str) -> None:
        """The model that was loaded, and the decoder that takes its default settings."""
        self._decoder.labels(model, decoder).set(1)

    def set_waiting(self, images: int, since: float | None) -> None:
        """The length of the queue, and when its first image came, by `perf_counter`, which processes share."""
        self._waiting.set(images)
        self._waiting_since.set(math.inf if since is None else since)

    def _add_series(self, method: str, route: str, status: int) -> Histogram:
        if len(self._series) >= MOST_SERIES:
            method, route = OTHER, OTHER
        return self._series.setdefault((method, route, status), self._duration.labels(method, route, status))

    def render(self, others: Iterable[Metric] = ()) -> bytes:
        """All processes' metrics, and `others`, as Prometheus reads them.

        Raises MetricsUnavailable where the processes' cannot be added up.
        """
        if self._is_partial or (self._folder is not None and (self._folder / PARTIAL).exists()):
            raise MetricsUnavailable(NO_PLACE)
        together = self._registry
        if self._folder is not None:
            together = CollectorRegistry()
            WholeFilesCollector(together, str(self._folder))  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(Rendered(together, others))


def damage_of(file: str | Path) -> Exception | None:
    """The error if a metrics file cannot be read, else None."""
    try:
        MultiProcessCollector.merge([str(file)], accumulate=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # there are many kinds
        return error
    return None


class WholeFilesCollector(MultiProcessCollector):
    """Skips files that are empty or torn, which a killed process or a full disk leaves behind."""

    _skipped: ClassVar[set[str]] = set()  # files that were logged

    def collect(self) -> Iterable[Metric]:
        files = glob.glob(os.path.join(glob.escape(self._path), "*.db"))  # noqa: PTH118, PTH207 - as prometheus_client
        try:
            return list(self.merge(files, accumulate=True))  # type: ignore[no-untyped-call]
        except Exception:  # there are many kinds of damage
            return list(self.merge([file for file in files if self._is_whole(file)], accumulate=True))  # type: ignore[no-untyped-call]

    def _is_whole(self, file: str) -> bool:
        damage = damage_of(file)
        if damage and file not in self._skipped:
            self._skipped.add(file)
            log.warning("Metrics in %s are left out, the file cannot be read: %r. Remove it", file, damage)
        return damage is None


class Rendered:
    """A registry's metrics, and those that are computed when they are read: versions, ages, and requests.

    The histogram of durations has counted the requests already: a second count would make a light request take a
    hundredth longer.
    """

    def __init__(self, registry: CollectorRegistry, others: Iterable[Metric]) -> None:
        self._registry, self._others = registry, others

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("flaskapp_build_info", "1, and the version of the server", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._others
        for metric in self._registry.collect():
            yield _aged(metric) if metric.name == f"flaskapp_{WAITING}" else metric
            if metric.name == DURATION:
                requests = CounterMetricFamily(REQUESTS, "Requests that were answered")
                for sample in metric.samples:
                    if sample.name.endswith("_count"):
                        requests.add_sample(f"{REQUESTS}_total", sample.labels, sample.value)
                yield requests


def _aged(metric: Metric) -> Metric:
    """A time that was measured as the age that it has now; 0 where there is none."""
    (since,) = [sample.value for sample in metric.samples]
    is_known = 0 < since < math.inf  # 0: of a process that has just made its file
    age = max(0.0, time.perf_counter() - since) if is_known else 0.0
    return GaugeMetricFamily(metric.name, metric.documentation, age)


def given_folder() -> str | None:
    """The folder that the operator keeps for prometheus_client, by its own setting, if there is one."""
    return os.environ.get(FOLDER)


values.ValueClass = values.MutexValue  # in memory until `share`, whatever the environment says
current = Metrics()


def share(folder: Path | None, process: str) -> None:
    """In a forked process, before it does anything: keep the metrics in files of its own, `<kind>_<process>.db`.

    A later process of the same name goes on with what is in them. Without a folder nothing can be added up.
    """
    global current
    if folder is not None:
        os.environ[FOLDER] = str(folder)  # for the library
        values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]
    current = Metrics(folder, is_partial=folder is None)
