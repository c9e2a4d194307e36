"""Prometheus metrics of an endpoint, beside BentoML's own in /metrics. All are labelled with the version (`name@1`)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Seen:
    """`status` is the HTTP status of the answer, 0 while there is none."""

    status: int = 0


class Measures:
    def __init__(self, version: str) -> None:
        # Imported here: prometheus_client decides at its import whether the files in PROMETHEUS_MULTIPROC_DIR are used,
        # and BentoML collects only from those.
        from prometheus_client import Counter, Gauge, Histogram

        self.version = version
        self._requests = Counter("tenshot_requests", "Requests to /predict by HTTP status", ["version", "status"])
        self._images = Counter("tenshot_images", "Images answered", ["version"]).labels(version)
        self._bad = Counter("tenshot_bad_images", "Images that could not be decoded", ["version"]).labels(version)
        self._seconds = Histogram(
            "tenshot_request_seconds", "Seconds from first byte to answer", ["version"], buckets=LATENCY_BUCKETS_S
        ).labels(version)
        self._in_flight = Gauge(
            "tenshot_in_flight", "Requests being answered", ["version"], multiprocess_mode="livesum"
        ).labels(version)

    def refused(self) -> None:
        """A request was turned away because too many were in flight."""
        self._requests.labels(self.version, "503").inc()

    def images(self, answered: int, bad: int) -> None:
        if answered:
            self._images.inc(answered)
        if bad:
            self._bad.inc(bad)

    @contextmanager
    def request(self) -> Iterator[Seen]:
        """Around one request; the caller sets `status` of what this yields."""
        began, seen = time.perf_counter(), Seen()
        self._in_flight.inc()
        try:
            yield seen
        finally:
            self._in_flight.dec()
            self._requests.labels(self.version, str(seen.status)).inc()
            self._seconds.observe(time.perf_counter() - began)
