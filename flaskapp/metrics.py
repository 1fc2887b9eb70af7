"""The metrics, by Prometheus' conventions. `current` has those of this process, and after `share` those of all."""

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
UNKNOWN = "unknown"  # route of unknown paths
OTHER = "other"  # non-standard methods, and series beyond MAX_SERIES
NO_PLACE = "the workers have no place to add up their metrics: the log says why"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # the variable that prometheus_client reads
PARTIAL = "partial"  # marker file in the folder: a process has no files in it
MAX_SERIES = 300  # combinations of method, route and status; bounds the size of the files

WAITING = "captioner_oldest_waiting_seconds"
DURATION, REQUESTS = "flaskapp_http_request_duration_seconds", "flaskapp_http_requests"
SECONDS = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
IMAGES = (1, 2, 4, 8, 16, 32, 64)

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # nothing uses the series `_created`


class Metrics:
    def __init__(self, folder: Path | None = None, is_partial: bool = False) -> None:
        """Keep metrics in memory, or in a folder, from which the files of all processes are aggregated.

        `is_partial`: there are other processes, but no folder, so that `render` must fail.
        """
        self._folder, self._is_partial = folder, is_partial
        self._registry = CollectorRegistry()
        counter = partial(Counter, namespace="flaskapp", registry=self._registry)
        histogram = partial(Histogram, namespace="flaskapp", registry=self._registry)
        gauge = partial(Gauge, namespace="flaskapp", registry=self._registry, multiprocess_mode="livesum")
        labels = ("method", "route", "status")
        self._duration = Histogram(
            DURATION,
            "Seconds from the head of a request to its response",
            labels,
            registry=self._registry,
            buckets=SECONDS,
        )
        self._series: dict[tuple[str, str, int], Histogram] = {}
        self._refusals = counter(
            "http_refusals_total", "Malformed requests, rejected before the application", ["status"]
        )
        self._errors = counter("errors_total", "Requests that failed, by the class of the error", ["error"])
        self._captions = counter("captions_total", "Captions made", ["model"])
        self._images = counter(
            "captioner_images_total", "Images captioned, including the warm-up, by decoder", ["decoder"]
        )
        self.cache_hits = counter("captioner_cache_hits_total", "Images whose captions were cached or being made")
        self._decoder = gauge(
            "captioner_decoder",
            "1 for the decoder of the default settings",
            ["model", "decoder"],
            multiprocess_mode="livemax",
        )
        self._tokens = counter("captioner_tokens_total", "Tokens of the captions made")
        self.batch = histogram("captioner_batch_images", "Images in a batch", buckets=IMAGES)
        self._waiting = gauge("captioner_waiting_images", "Images that wait for a batch")
        self._waiting_since = gauge(
            WAITING,
            "Seconds that the first image in the queue has waited, without images of caption jobs",
            multiprocess_mode="livemin",
        )
        self._waiting_since.set(math.inf)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request. `route` is a URL rule of the application or UNKNOWN, never a path that a client chose."""
        key = method if method in METHODS else OTHER, route, status
        series = self._series.get(key) or self._add_series(*key)
        series.observe(seconds)

    def count_refusal(self, status: HTTPStatus) -> None:
        """Count a request that was rejected before the application."""
        self._refusals.labels(status.value).inc()

    def count_error(self, error: Exception) -> None:
        """Count a request that failed with this error."""
        self._errors.labels(type(error).__name__).inc()

    def count_captions(self, model: str, number: int) -> None:
        self._captions.labels(model).inc(number)

    def count_image(self, is_fast: bool, tokens: int) -> None:
        """Count an image that was captioned by the fast decoder or by `generate`."""
        self._images.labels("fast" if is_fast else "generate").inc()
        self._tokens.inc(tokens)

    def set_decoder(self, model: str, decoder: str) -> None:
        """Set the loaded model and the decoder of its default settings."""
        self._decoder.labels(model, decoder).set(1)

    def set_waiting(self, images: int, since: float | None) -> None:
        """Set the length of the queue and the arrival of its first image, by `perf_counter`, which processes share."""
        self._waiting.set(images)
        self._waiting_since.set(math.inf if since is None else since)

    def _add_series(self, method: str, route: str, status: int) -> Histogram:
        if len(self._series) >= MAX_SERIES:
            method, route = OTHER, OTHER
        return self._series.setdefault((method, route, status), self._duration.labels(method, route, status))

    def render(self, others: Iterable[Metric] = ()) -> bytes:
        """Return the metrics of all processes, and `others`, in Prometheus' text format.

        Raise MetricsUnavailable if the processes' metrics cannot be aggregated.
        """
        if self._is_partial or (self._folder is not None and (self._folder / PARTIAL).exists()):
            raise MetricsUnavailable(NO_PLACE)
        registry = self._registry
        if self._folder is not None:
            registry = CollectorRegistry()
            ReadableFilesCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]
        return prometheus_client.generate_latest(RenderedMetrics(registry, others))


def damage_of(file: str | Path) -> Exception | None:
    """Return the error if a metrics file cannot be read, else None."""
    try:
        MultiProcessCollector.merge([str(file)], accumulate=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # there are many kinds
        return error
    return None


class ReadableFilesCollector(MultiProcessCollector):
    """Skips empty and truncated files, which a killed process or a full disk leaves behind."""

    _skipped: ClassVar[set[str]] = set()  # files that have been logged

    def collect(self) -> Iterable[Metric]:
        files = glob.glob(os.path.join(glob.escape(self._path), "*.db"))  # noqa: PTH118, PTH207 - as prometheus_client
        try:
            return list(self.merge(files, accumulate=True))  # type: ignore[no-untyped-call]
        except Exception:  # there are many kinds of damage
            return list(self.merge([file for file in files if self._is_readable(file)], accumulate=True))  # type: ignore[no-untyped-call]

    def _is_readable(self, file: str) -> bool:
        damage = damage_of(file)
        if damage and file not in self._skipped:
            self._skipped.add(file)
            log.warning("The metrics in %s are skipped, because the file cannot be read (%r): remove it", file, damage)
        return damage is None


class RenderedMetrics:
    """A registry's metrics, and metrics that are computed when they are read: version, ages, number of requests.

    The number of requests comes from the histogram of durations: its own counter would make a light request 1% slower.
    """

    def __init__(self, registry: CollectorRegistry, others: Iterable[Metric]) -> None:
        self._registry, self._others = registry, others

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("flaskapp_build_info", "1, labelled with the version", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield from self._others
        for metric in self._registry.collect():
            yield _aged(metric) if metric.name == f"flaskapp_{WAITING}" else metric
            if metric.name == DURATION:
                requests = CounterMetricFamily(REQUESTS, "Requests answered")
                for sample in metric.samples:
                    if sample.name.endswith("_count"):
                        requests.add_sample(f"{REQUESTS}_total", sample.labels, sample.value)
                yield requests


def _aged(metric: Metric) -> Metric:
    """Turn a time into its present age. Without a time, the age is 0."""
    (since,) = [sample.value for sample in metric.samples]
    is_known = 0 < since < math.inf  # 0: a process has just made its file
    age = max(0.0, time.perf_counter() - since) if is_known else 0.0
    return GaugeMetricFamily(metric.name, metric.documentation, age)


def given_folder() -> str | None:
    """Return the folder that the operator has set for prometheus_client, if any."""
    return os.environ.get(FOLDER)


values.ValueClass = values.MutexValue  # in memory until `share`, even if the variable is set
current = Metrics()


def share(folder: Path | None, process: str) -> None:
    """Keep this process's metrics in its own files, `<kind>_<process>.db`. Call it right after the fork.

    A later process of the same name continues from its files. Without a folder, `render` fails.
    """
    global current
    if folder is not None:
        os.environ[FOLDER] = str(folder)  # for the library
        values.ValueClass = values.MultiProcessValue(lambda: process)  # type: ignore[no-untyped-call]
    current = Metrics(folder, is_partial=folder is None)
