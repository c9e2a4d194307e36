"""Prometheus metrics of an endpoint, beside BentoML's own in /metrics. All are labelled with the version (`name@1`).

Several workers write them, each into files of its own (prometheus_client's multiprocess mode); /metrics of any of them
gives the sum. Counters and histograms of a worker that ended stay in the sum, gauges do not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from tenshot.automl.predictor import Observation
    from tenshot.serving.endpoints.drift import Drift

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STEP_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Of a part of an answer."""
CONFIDENCE_BUCKETS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100)
NOVELTY_BUCKETS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BATCH_BUCKETS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


@dataclass
class Seen:
    """`status` is the HTTP status of the answer, 0 while there is none."""

    status: int = 0


class Measures:
    def __init__(self, version: str, registry: CollectorRegistry | None = None) -> None:
        """`registry` None is the process's own, which /metrics shows. Once a registry and version."""
        # Imported here: prometheus_client decides at its import whether the files in PROMETHEUS_MULTIPROC_DIR are used,
        # and BentoML collects only from those.
        from prometheus_client import REGISTRY, Counter, Gauge, Histogram

        where = REGISTRY if registry is None else registry

        def counter(name: str, what: str) -> Any:
            return Counter(f"tenshot_{name}", what, ["version"], registry=where).labels(version)

        def histogram(name: str, what: str, buckets: tuple[float, ...]) -> Any:
            return Histogram(f"tenshot_{name}", what, ["version"], registry=where, buckets=buckets).labels(version)

        def gauge(name: str, what: str, mode: Any) -> Any:
            return Gauge(f"tenshot_{name}", what, ["version"], registry=where, multiprocess_mode=mode).labels(version)

        self.version = version
        self._requests = Counter(
            "tenshot_requests", "Requests to /predict by HTTP status", ["version", "status"], registry=where
        )
        self._refused = Counter(
            "tenshot_refused",
            "Requests refused for their access key, by HTTP status",
            ["version", "status"],
            registry=where,
        )
        self._statuses: dict[int, Any] = {}
        self._images = counter("images", "Images answered")
        self._bad = counter("bad_images", "Images that could not be decoded")
        self._unsure = counter("unsure_images", "Images whose labels are all below their own thresholds")
        self._unlabeled = counter("unlabeled_images", "Images answered without any label")
        self._seconds = histogram("request_seconds", "Seconds from first byte to answer", LATENCY_BUCKETS_S)
        self._decode = histogram("decode_seconds", "Seconds to decode and resize an image", STEP_BUCKETS_S)
        self._queue = histogram("queue_seconds", "Seconds that an image waited for its turn", STEP_BUCKETS_S)
        self._network = histogram("network_seconds", "Seconds of one run of the network", STEP_BUCKETS_S)
        self._batch = histogram("batch_size", "Images in one run of the network", BATCH_BUCKETS)
        self._confidence = histogram("confidence", "Best confidence of an image, 0 to 100", CONFIDENCE_BUCKETS)
        self._novelty = histogram("novelty", "How unlike the training images, 0 to 1", NOVELTY_BUCKETS)
        self._in_flight = gauge("in_flight", "Requests being answered", "livesum")
        self._drift = gauge("drift", "Distance from the training images, 0 to 1; NaN: unknown", "livemostrecent")
        self._drift_images = gauge("drift_images", "Images that tenshot_drift rests on", "livemostrecent")
        self._last_run_s = 0.0
        # A worker that takes a dead one's place finds its file.
        self._in_flight.set(0)
        self._drift.set(math.nan)

    def refused(self) -> None:
        """A request was turned away because too many were in flight."""
        self._status(503).inc()

    def turned_away(self, status: int) -> None:
        """A request was refused for its access key or its rate: 401, 403, 429."""
        self._refused.labels(self.version, str(status)).inc()

    def images(self, answered: int, bad: int) -> None:
        if answered:
            self._images.inc(answered)
        if bad:
            self._bad.inc(bad)

    def image(self, seen: Observation) -> None:
        """What one answered image tells."""
        self._confidence.observe(100.0 * seen.best)
        if not seen.sure:
            self._unsure.inc()
        if not seen.document["labels"]:
            self._unlabeled.inc()
        if (novelty := seen.document.get("novelty")) is not None:
            self._novelty.observe(novelty)

    def decoded(self, waited_s: float, seconds: float) -> None:
        """An image waited for a decoder and was decoded."""
        self._queue.observe(waited_s)
        self._decode.observe(seconds)

    def inferred(self, seconds: float) -> None:
        """The network's answer to one image came so long after it was asked."""
        self._queue.observe(max(0.0, seconds - self._last_run_s))

    @contextmanager
    def run(self, images: int) -> Iterator[None]:
        """Around one run of the network."""
        began = time.perf_counter()
        yield
        self._last_run_s = time.perf_counter() - began
        self._network.observe(self._last_run_s)
        self._batch.observe(images)

    def drift(self, drift: Drift) -> None:
        self._drift.set(math.nan if drift.distance is None else drift.distance)
        self._drift_images.set(drift.images)

    @contextmanager
    def request(self) -> Iterator[Seen]:
        """Around one request; the caller sets `status` of what this yields."""
        began, seen = time.perf_counter(), Seen()
        self._in_flight.inc()
        try:
            yield seen
        finally:
            self._in_flight.dec()
            self._status(seen.status).inc()
            self._seconds.observe(time.perf_counter() - began)

    def _status(self, status: int) -> Any:
        if status not in self._statuses:
            self._statuses[status] = self._requests.labels(self.version, str(status))
        return self._statuses[status]
