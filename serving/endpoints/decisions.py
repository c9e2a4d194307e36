"""What a supervisor does next. Pure: what was seen and the time come in, a step and its reason come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tenshot.projects.durations import format_duration

BACKOFF_S = 0.5
"""Before the second of several replacements in a row; doubled for each one after it. The first one is made at once."""
LONGEST_BACKOFF_S = 5.0


class Verdict(StrEnum):
    """On one worker."""

    FINE = "fine"
    READY = "ready"
    """It answers: it is in service from now on."""
    FAILED = "failed"
    """It ended, hangs or never got ready: end it and start another one."""
    HEAVY = "heavy"
    """It takes too much memory: start another one, and then drain this one."""


class Step(StrEnum):
    """Of the endpoint."""

    WAIT = "wait"
    SLEEP = "sleep"
    """End all workers and wait for a request."""
    STOP = "stop"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Rules:
    """In seconds, but `max_restarts` and bytes; see configs/default.yaml."""

    start_timeout_s: float
    idle_stop_s: float
    """0: never."""
    max_restarts: int
    restart_window_s: float
    hang_s: float = 30.0
    """A worker that lives but answers nothing for this long is replaced."""
    max_memory_bytes: float = 0.0
    """0: no limit."""
    memory_every_s: float = 60.0
    """Between two workers that are replaced because of their memory."""


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """Times are of the supervisor's clock, in seconds."""

    at: float
    alive: bool
    started_at: float
    ready_at: float | None
    """Since when it has been in service; None while it starts."""
    answers: bool
    """Whether it says that it is ready."""
    beat_at: float
    """When its event loop last came round; 0: never."""
    inferring_since: float = 0.0
    """Since when the network has had inputs without a break; 0: it has none."""
    inferred_at: float = 0.0
    """When the network last gave a result."""
    memory_bytes: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """Of the whole endpoint. Times are of the supervisor's clock, in seconds."""

    at: float
    stop_asked: bool
    serving: int
    """Workers in service."""
    in_use: bool
    """Whether a request is being answered."""
    used_at: float
    """When the last request came, or when the endpoint came into service if there was none since."""
    ever_ready: bool
    """Whether any worker of this endpoint ever was."""
    failures: tuple[float, ...]
    """When workers failed."""
    last_failure: str = ""
    wake_on_request: bool = False
    scheduled: bool = False
    resting: bool = False
    """Asleep, or out of service by its schedule: no worker is wanted."""


@dataclass(frozen=True, slots=True)
class Decision:
    step: Step
    reason: str = ""


WAIT = Decision(Step.WAIT)


def judge(seen: WorkerSeen, rules: Rules) -> tuple[Verdict, str]:
    """A verdict on a worker and its reason."""
    if not seen.alive:
        return Verdict.FAILED, "the server process ended"
    if seen.ready_at is None:
        if seen.answers:
            return Verdict.READY, ""
        if seen.at - seen.started_at > rules.start_timeout_s:
            return Verdict.FAILED, f"it was not ready after {format_duration(rules.start_timeout_s)}"
        return Verdict.FINE, ""
    hang = format_duration(rules.hang_s)
    if seen.at - max(seen.beat_at, seen.ready_at) > rules.hang_s:
        return Verdict.FAILED, f"the server process did not answer for {hang}"
    if seen.inferring_since and seen.at - max(seen.inferring_since, seen.inferred_at) > rules.hang_s:
        return Verdict.FAILED, f"the network did not answer for {hang}"
    if 0 < rules.max_memory_bytes < seen.memory_bytes:
        return Verdict.HEAVY, f"the server process took {seen.memory_bytes / 2**20:.0f} MiB of memory"
    return Verdict.FINE, ""


def decide(seen: Seen, rules: Rules) -> Decision:
    if seen.stop_asked:
        return Decision(Step.STOP, "stopped on request")
    if seen.failures and not seen.ever_ready:  # what broke the first start will break the next one
        return Decision(Step.FAIL, f"{seen.last_failure} before it was ready")
    count = recent_failures(seen, rules)
    if count > rules.max_restarts and not seen.serving and not seen.resting:
        window = format_duration(rules.restart_window_s)
        return Decision(Step.FAIL, f"{seen.last_failure}, after {count - 1} restarts within {window}")
    return _idle(seen, rules)


def idle_for(seen: Seen) -> float:
    """Seconds since the last request, or since the endpoint came into service if there was none since then."""
    return seen.at - seen.used_at if seen.serving and not seen.in_use else 0.0


def recent_failures(seen: Seen, rules: Rules) -> int:
    return sum(1 for at in seen.failures if seen.at - at <= rules.restart_window_s)


def next_start_at(seen: Seen, rules: Rules) -> float:
    """Before this time no worker is started: later and later while they fail one after the other."""
    count = recent_failures(seen, rules)
    if count < 2:
        return 0.0
    return seen.failures[-1] + float(min(BACKOFF_S * 2 ** (count - 2), LONGEST_BACKOFF_S))


def may_return(*, running: bool, up_s: float, restarts: int, max_restarts: int, window_s: float) -> bool:
    """Whether an endpoint whose supervisor died unasked is started again: if it was in service, or was on the way back
    to it, and not too often. One that never was in service stays down: its starter waits and is told."""
    return (running or restarts > 0) and (up_s > window_s or restarts < max_restarts)


def _idle(seen: Seen, rules: Rules) -> Decision:
    if not 0 < rules.idle_stop_s <= idle_for(seen):
        return WAIT
    idle = f"nobody called it for {format_duration(rules.idle_stop_s)}"
    if seen.wake_on_request:
        return Decision(Step.SLEEP, idle)
    # A schedule says by itself when an endpoint is in service; stopped, it would not be back the next morning.
    return WAIT if seen.scheduled else Decision(Step.STOP, f"stopped because {idle}")
