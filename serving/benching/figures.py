"""What samples say: percentiles, the knee of a curve, and how many units a rate needs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tenshot.serving.benching.load import NO_ANSWER, Samples

KNEE = 0.95
"""Share of the highest throughput that counts as having reached it: beyond, more clients only wait longer."""
HEADROOM = 1.3
"""Units for a wanted rate are reckoned for so much more: requests come in bunches, and a queue that is full to the last
place never empties."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What was measured with so many clients at once. Latencies are of the requests that were answered with 200."""

    clients: int
    seconds: float
    requests: int
    failed: dict[str, int]
    """HTTP status, or why there was no answer → how often."""
    per_second: float
    """Requests answered with 200."""
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    units: int
    """Worker processes that answered."""
    cores: float | None
    """Cores that the endpoint's processes kept busy; None where they run on another machine."""
    memory_bytes: int | None
    """Of these processes after the stage; pages that they share count once."""
    client_cores: float
    """What the load generator itself took."""
    complete: bool = True

    @property
    def failures(self) -> int:
        return sum(self.failed.values())

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stage(clients: int, found: Samples, *, units: int, cpu_s: float | None, memory_bytes: int | None) -> Stage:
    good = sorted(found.latencies_s.get(200, []))
    failed = {f"HTTP {k}": len(v) for k, v in sorted(found.latencies_s.items()) if k not in (200, NO_ANSWER) and v}
    seconds = found.seconds or math.inf  # nothing was sent
    return Stage(
        clients=clients,
        seconds=found.seconds,
        requests=found.count,
        failed=failed | dict(sorted(found.errors.items())),
        per_second=len(good) / seconds,
        p50_ms=_ms(good, 0.50),
        p95_ms=_ms(good, 0.95),
        p99_ms=_ms(good, 0.99),
        units=units,
        cores=None if cpu_s is None else cpu_s / seconds,
        memory_bytes=memory_bytes,
        client_cores=found.client_cpu_s / seconds,
        complete=found.complete,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that at least `share` (0…1) of all samples do not exceed (nearest rank: always a value that
    was measured). `ordered` ascends. Raises ValueError if there is none."""
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(round(share * len(ordered), 9)) - 1)]


def _ms(ordered: Sequence[float], share: float) -> float | None:
    return round(percentile(ordered, share) * 1000, 3) if ordered else None


def knee(stages: Sequence[Stage]) -> Stage | None:
    """The stage with the fewest clients that reaches KNEE of the highest throughput for each unit; None where nothing
    was answered."""
    best = max((_per_unit(one) for one in stages), default=0.0)
    reached = [one for one in stages if best > 0 and _per_unit(one) >= KNEE * best]
    return min(reached, key=lambda one: one.clients, default=None)


def _per_unit(one: Stage) -> float:
    return one.per_second / max(1, one.units)


@dataclass(frozen=True, slots=True)
class Recommendation:
    rate: float
    """Wanted, requests a second."""
    units: int
    unit_per_second: float
    """What a unit answers at the knee."""
    unit_cores: float
    """What a unit needs of the machine at the knee, decoding included; 1 where that was not measured."""
    cores: int
    """That this machine has."""
    headroom: float = HEADROOM

    @property
    def cores_needed(self) -> float:
        return self.rate * self.headroom / self.unit_per_second * self.unit_cores

    @property
    def enough(self) -> bool:
        """Whether this machine can do it: as many units as it may start, and the time of its cores."""
        return self.units <= self.cores and self.cores_needed <= self.cores

    @property
    def machines(self) -> int:
        """Such machines that it takes."""
        return max(math.ceil(self.units / self.cores), math.ceil(round(self.cores_needed / self.cores, 9)))

    def to_json(self) -> dict[str, Any]:
        more = {"cores_needed": self.cores_needed, "enough": self.enough, "machines": self.machines}
        return asdict(self) | more


def recommend(rate: float, at: Stage, cores: int, *, headroom: float = HEADROOM) -> Recommendation:
    """Units for `rate` requests a second, reckoned from the stage at the knee: more of them answer as much each, as
    long as the machine has the cores. Raises ValueError for a rate that is not above 0."""
    if not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"rate is {rate}")
    units = max(1, at.units)
    per_unit = at.per_second / units
    needed = math.ceil(round(rate / per_unit * headroom, 9))
    return Recommendation(rate, needed, per_unit, (at.cores or units) / units, cores, headroom)
