"""How many workers an endpoint wants. Pure: a load and what is remembered of earlier ones come in, a number comes out.

Out fast: a load that `FULL` requests a worker tells of for `out_s` is met with as many workers as it needs at once. In
slowly: one worker less when the others would have carried the load for `in_s` without a break. The two marks are far
enough apart that the load which took one worker away does not bring it back; should a later one do so soon, the next
removal waits twice as long, so that a load which comes and goes is not answered by workers that come and go.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

FULL = 1.4
"""Requests in flight a worker on average, at which they begin to wait for each other. One caller who asks again at once
keeps it a little below 1, two callers below 2."""
SLACK = 1.1
"""So few would be in flight at each worker if there was one less."""
QUEUE_S = 0.1
"""Inputs that wait so long for the network on average are too many, whatever is in flight."""
LOOP_FULL, LOOP_SLACK = 0.8, 0.55
"""The same two marks for the part of the time that a worker's reading and writing thread is busy: small images that are
asked for at a high rate wait before they are counted as in flight."""
SMOOTHED_S = 1.0
LONGEST_PATIENCE = 8.0


@dataclass(frozen=True, slots=True)
class ScaleRules:
    least: int
    most: int
    out_s: float = 1.0
    in_s: float = 60.0
    target_p95_s: float = 0.0
    """Answers that take longer than this are a reason for more workers; 0: they are none."""


@dataclass(frozen=True, slots=True)
class Load:
    """Of one tick, over all workers in service."""

    at: float
    serving: int
    in_flight: float
    """Mean number of requests whose answer was being made."""
    queue_s: float = 0.0
    """Mean wait of an input for the network."""
    p95_s: float = 0.0
    loops: float = 0.0
    """Processor seconds a second of the threads that read requests and write answers; each worker has one."""
    refused: int = 0
    """Requests that were answered 503."""


@dataclass(frozen=True, slots=True)
class Memory:
    wanted: int
    level: float = 0.0
    """Requests in flight, smoothed."""
    loops: float = 0.0
    """As in `Load`, smoothed."""
    serving: int = 0
    seen_at: float | None = None
    pressed_since: float | None = None
    slack_since: float | None = None
    went_in_at: float | None = None
    patience: float = 1.0
    """By which `in_s` is multiplied."""


def scale(load: Load, memory: Memory, rules: ScaleRules) -> Memory:
    """What to remember; `wanted` of it is the number of workers, between `least` and `most`."""
    memory = _observed(load, memory, rules)
    if memory.pressed_since is not None and load.at - memory.pressed_since >= rules.out_s:
        return _out(load, memory, rules)
    wait_s = rules.in_s * memory.patience
    if memory.slack_since is not None and load.at - memory.slack_since >= wait_s and memory.wanted > rules.least:
        return replace(memory, wanted=memory.wanted - 1, slack_since=load.at, went_in_at=load.at)
    return memory


def _observed(load: Load, memory: Memory, rules: ScaleRules) -> Memory:
    wanted = min(max(memory.wanted, rules.least), rules.most)
    passed_s = load.at - memory.seen_at if memory.seen_at is not None else 0.0
    weight = 1 - math.exp(-passed_s / SMOOTHED_S)
    level = memory.level + (load.in_flight - memory.level) * weight
    loops = memory.loops + (load.loops - memory.loops) * weight
    memory = replace(memory, wanted=wanted, level=level, loops=loops, seen_at=load.at)
    pressed = _pressed(load, memory, rules)
    fewer = wanted - 1
    slack = fewer >= rules.least and level <= SLACK * fewer and loops <= LOOP_SLACK * fewer and not _waits(load, rules)
    if load.serving != memory.serving:  # those who came or went change everything: look anew
        memory = replace(memory, serving=load.serving, pressed_since=None)
    return replace(
        memory,
        pressed_since=_since(memory.pressed_since, load.at) if pressed else None,
        slack_since=_since(memory.slack_since, load.at) if slack else None,
    )


def _pressed(load: Load, memory: Memory, rules: ScaleRules) -> bool:
    # Workers that were asked for and still start are counted as if they carried their part already.
    wanted = memory.wanted
    full = memory.level >= FULL * wanted and load.in_flight >= wanted  # the level remembers a burst that is over
    full = full or memory.loops >= LOOP_FULL * wanted
    return wanted < rules.most and (full or (_waits(load, rules) and load.serving >= wanted))


def _waits(load: Load, rules: ScaleRules) -> bool:
    slow = 0 < rules.target_p95_s < load.p95_s and load.in_flight > 0
    return load.refused > 0 or load.queue_s >= QUEUE_S or slow


def _out(load: Load, memory: Memory, rules: ScaleRules) -> Memory:
    needed = max(memory.wanted + 1, math.ceil(memory.level / FULL))
    soon = memory.went_in_at is not None and load.at - memory.went_in_at < 4 * rules.in_s * memory.patience
    patience = min(2 * memory.patience, LONGEST_PATIENCE) if soon else 1.0
    return replace(
        memory, wanted=min(needed, rules.most), pressed_since=None, slack_since=None, went_in_at=None, patience=patience
    )


def _since(before: float | None, at: float) -> float:
    return at if before is None else before
