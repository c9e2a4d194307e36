"""What the endpoints of this machine do just now: from the metric files, the process table and the drift of each.

Nothing is asked of the endpoints themselves, so an access key is not needed, and a look costs them nothing.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.serving.endpoints import control, drift_file, processes
from tenshot.serving.endpoints.drift import Drift, Verdict
from tenshot.serving.endpoints.layout import EndpointFiles

if TYPE_CHECKING:
    from tenshot.automl.usual import Usual
    from tenshot.projects.records import Endpoint
    from tenshot.projects.workspace import Workspace
    from tenshot.serving.endpoints.control import EndpointView

WINDOW_S = 10.0
"""Rates and percentiles are of so long, once somebody has watched that long."""
COST_EVERY_S = 30.0
"""The ledger is read no more often."""
UNIT = "inference_unit_second"


@dataclass(frozen=True, slots=True)
class Sample:
    """Counters of an endpoint since it was started."""

    at: float
    requests: float = 0.0
    refused: float = 0.0
    """With 503."""
    buckets: Mapping[float, float] = field(default_factory=dict)
    """Seconds → requests that took no longer."""

    def since(self, earlier: Sample | None) -> Sample:
        """What was counted between the two; all of it if the endpoint was started anew meanwhile."""
        if earlier is None or earlier.requests > self.requests:
            return self
        buckets = {le: count - earlier.buckets.get(le, 0.0) for le, count in self.buckets.items()}
        return Sample(self.at, self.requests - earlier.requests, self.refused - earlier.refused, buckets)


@dataclass(frozen=True, slots=True)
class Now:
    """An endpoint and what it does. Numbers are None where there is nothing to tell them from."""

    view: EndpointView
    requests_per_s: float | None = None
    p50_s: float | None = None
    p95_s: float | None = None
    refused: float | None = None
    """Answers 503 since it was started."""
    requests: float | None = None
    memory_bytes: int | None = None
    """Of all its processes, shared pages counted once."""
    drift: Drift | None = None
    cost: float | None = None
    currency: str = ""
    idle_stop_in_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        e = self.view.endpoint
        return self.view.to_json() | {
            "secured": e and e.secured,
            "tls": e and e.tls,
            "requests": self.requests,
            "requests_per_s": self.requests_per_s,
            "p50_ms": _ms(self.p50_s),
            "p95_ms": _ms(self.p95_s),
            "refused_503": self.refused,
            "memory_bytes": self.memory_bytes,
            "drift": self.drift and self.drift.to_json(),
            "cost": self.cost,
            "currency": self.currency or None,
            "idle_stop_in_s": self.idle_stop_in_s,
        }


class Onlooker:
    """Looks again and again; the first look tells rates since the start, later ones of the last ten seconds."""

    def __init__(self, workspace: Workspace, clock: Callable[[], float] = time.time) -> None:
        self.workspace = workspace
        self._clock = clock
        self._samples: dict[str, deque[Sample]] = {}
        self._usual: dict[str, Usual | None] = {}
        self._costs: dict[str, float] = {}
        self._costed_at = -math.inf
        self._currency = ""

    def look(self) -> list[Now]:
        """Every endpoint and every one that failed, by reference."""
        views = control.endpoints(self.workspace)
        if self._clock() - self._costed_at >= COST_EVERY_S:
            self._read_costs([view.endpoint for view in views if view.endpoint])
        return [self._now(view, view.endpoint) if view.endpoint else Now(view) for view in views]

    def _now(self, view: EndpointView, endpoint: Endpoint) -> Now:
        at = self._clock()
        files = EndpointFiles(self._folder(view.ref))
        total = read_sample(files.metrics, at)
        recent, seconds = self._recent(view.ref, total, endpoint)
        return Now(
            view,
            requests_per_s=round(recent.requests / seconds, 3) if seconds > 0 else None,
            p50_s=quantile(recent.buckets, 0.5),
            p95_s=quantile(recent.buckets, 0.95),
            refused=total.refused,
            requests=total.requests,
            memory_bytes=memory_of(endpoint.supervisor_pid),
            drift=drift_file.newest(self._usual_of(view.ref), drift_file.read(drift_file.path_in(files.folder)), at),
            cost=self._costs.get(view.ref),
            currency=self._currency,
            idle_stop_in_s=idle_stop_in(endpoint, at),
        )

    def _recent(self, ref: str, total: Sample, endpoint: Endpoint) -> tuple[Sample, float]:
        """What was counted of late, and in how many seconds."""
        kept = self._samples.setdefault(ref, deque())
        while len(kept) > 1 and total.at - kept[1].at >= WINDOW_S:
            kept.popleft()
        first = kept[0] if kept else None
        kept.append(total)
        if first is None or first.requests > total.requests:
            return total, total.at - (endpoint.ready_at or total.at)
        return total.since(first), total.at - first.at

    def _usual_of(self, ref: str) -> Usual | None:
        from tenshot.automl.usual import Usual
        from tenshot.projects.errors import BundleError

        if ref not in self._usual:
            name, _, number = ref.rpartition("@")
            self._usual[ref] = None
            with suppress(BundleError):
                self._usual[ref] = Usual.load(self.workspace.bundle_dir(name, int(number)))
        return self._usual[ref]

    def _folder(self, ref: str) -> Path:
        name, _, number = ref.rpartition("@")
        return self.workspace.endpoint_dir(name, int(number))

    def _read_costs(self, endpoints: list[Endpoint]) -> None:
        """Unit-seconds since each was started, priced as if nothing else were used in that month."""
        from tenshot.projects.metering import prices

        price_list = prices.load(self.workspace.home)
        self._costed_at, self._currency = self._clock(), price_list.currency
        if not endpoints:
            return
        records = self.workspace.store.usage(start=min(endpoint.started_at for endpoint in endpoints))
        for one in endpoints:
            mine = [r for r in records if r.unit == UNIT and f"{r.project}@{r.version}" == one.ref]
            self._costs[one.ref] = price_list.cost(UNIT, sum(r.quantity for r in mine if r.start >= one.started_at))


def read_sample(folder: Path, at: float) -> Sample:
    """The sum over all workers from their metric files; all 0 if there are none yet."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    if not folder.is_dir():
        return Sample(at)
    collector: Any = MultiProcessCollector(CollectorRegistry(), path=str(folder))  # type: ignore[no-untyped-call]
    try:
        metrics = {metric.name: metric.samples for metric in collector.collect()}
    except (OSError, ValueError, KeyError):  # a file that is being made
        return Sample(at)
    requests = metrics.get("tenshot_requests", [])
    buckets = {
        float(sample.labels["le"]): sample.value
        for sample in metrics.get("tenshot_request_seconds", [])
        if sample.name.endswith("_bucket")
    }
    refused = sum(sample.value for sample in requests if sample.labels.get("status") == "503")
    return Sample(at, sum(sample.value for sample in requests), refused, dict(sorted(buckets.items())))


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Of a histogram with cumulative counts, evenly spread within a bucket, as Prometheus's histogram_quantile does it.
    None if it is empty; beyond the last bound that bound."""
    total = max(buckets.values(), default=0.0)
    if total <= 0:
        return None
    below, low = 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= share * total:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (share * total - below) / max(count - below, 1e-12)
        below, low = count, bound
    return low


def memory_of(supervisor_pid: int) -> int | None:
    """Bytes of the supervisor and everything below it; None if it is not on this machine."""
    import psutil

    try:
        family = [psutil.Process(supervisor_pid)]
        family += family[0].children(recursive=True)
    except psutil.Error:
        return None
    return round(sum(processes.memory_bytes(process.pid) for process in family))


def idle_stop_in(endpoint: Endpoint, at: float) -> float | None:
    """Seconds until it stops or sleeps if nobody calls it; None if it does not."""
    if not endpoint.idle_stop_s or endpoint.ready_at is None:
        return None
    used_at = max(endpoint.ready_at, endpoint.last_request_at or 0.0)
    return max(0.0, endpoint.idle_stop_s - (at - used_at))


def drift_of(workspace: Workspace, ref: str) -> tuple[str, list[tuple[int, Drift]]]:
    """The version and (start of the hour, its drift) of every hour that is kept, oldest first. Raises BundleError."""
    from tenshot.automl.usual import Usual

    version = workspace.resolve(ref)
    usual = Usual.load(workspace.bundle_dir(version.project, version.number))
    path = drift_file.path_in(workspace.endpoint_dir(version.project, version.number))
    return version.ref, drift_file.by_hour(usual, path) if usual else [(0, Drift(Verdict.UNAVAILABLE, 0))]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
