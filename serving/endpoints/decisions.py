"""What a supervisor does next. Pure: what was seen and the time come in, a step and its reason come out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tenshot.projects.durations import format_duration


class Step(StrEnum):
    WAIT = "wait"
    SERVE = "serve"
    """The child answers: open the meter and say RUNNING."""
    RESTART = "restart"
    FAIL = "fail"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Rules:
    """All in seconds but `max_restarts`; see configs/default.yaml."""

    start_timeout_s: float
    idle_stop_s: float
    """0: never."""
    max_restarts: int
    restart_window_s: float
    hang_s: float = 30.0
    """A child that lives but answers nothing for this long is replaced."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Times are seconds since the epoch."""

    at: float
    child_alive: bool
    child_started_at: float
    ready_at: float | None
    """Since when the present child has been in service; None while it starts."""
    ever_ready: bool
    """Whether any child of this endpoint ever was."""
    answered_at: float | None
    """Last time that the present child answered a probe."""
    last_request_at: float | None
    restarts: tuple[float, ...]
    """When children were replaced."""
    stop_asked: bool


@dataclass(frozen=True, slots=True)
class Decision:
    step: Step
    reason: str = ""


WAIT = Decision(Step.WAIT)


def decide(seen: Seen, rules: Rules) -> Decision:
    if seen.stop_asked:
        return Decision(Step.STOP, "stopped on request")
    if not seen.child_alive:
        return _replace(seen, rules, "the server process ended")
    if seen.ready_at is None:
        return _starting(seen, rules)
    if seen.at - max(seen.answered_at or 0.0, seen.ready_at) > rules.hang_s:
        return _replace(seen, rules, f"the server process did not answer for {format_duration(rules.hang_s)}")
    if 0 < rules.idle_stop_s <= idle_for(seen):
        return Decision(Step.STOP, f"stopped because nobody called it for {format_duration(rules.idle_stop_s)}")
    return WAIT


def idle_for(seen: Seen) -> float:
    """Seconds since the last request, or since the endpoint came into service if there was none since then."""
    if seen.ready_at is None:
        return 0.0
    return seen.at - max(seen.ready_at, seen.last_request_at or 0.0)


def recent_restarts(seen: Seen, rules: Rules) -> int:
    return sum(1 for at in seen.restarts if seen.at - at <= rules.restart_window_s)


def _starting(seen: Seen, rules: Rules) -> Decision:
    if seen.answered_at is not None:
        return Decision(Step.SERVE)
    if seen.at - seen.child_started_at > rules.start_timeout_s:
        return Decision(Step.FAIL, f"it was not ready after {format_duration(rules.start_timeout_s)}")
    return WAIT


def _replace(seen: Seen, rules: Rules, what: str) -> Decision:
    if not seen.ever_ready:  # what broke the first start will break the next one
        return Decision(Step.FAIL, f"{what} before it was ready")
    count = recent_restarts(seen, rules)
    if count >= rules.max_restarts:
        window = format_duration(rules.restart_window_s)
        return Decision(Step.FAIL, f"{what}, after {count} restarts within {window}")
    return Decision(Step.RESTART, what)
