"""Whether an endpoint sees other images than it was trained with.

Each answered image gives a few numbers, its signals (automl/usual.py). They are counted in narrow bins by the hour and
compared with the same numbers of the training images:

- *distance*, 0 to 1: the largest difference between the two cumulative distributions, which is Kolmogorov and Smirnov's
  statistic (N. Smirnov, Ann. Math. Statist. 19, 1948). 0: the same; 1: they do not overlap. Of several signals the
  largest counts.
- *chance*: how likely so much is where nothing has changed, by the limit of that statistic's distribution with
  Stephens's correction for few values (M. Stephens, J. R. Statist. Soc. B 32, 1970), times the number of signals. It
  knows that ten training images tell little of what is usual.
- *shift*: how far the middle has moved, in standard deviations of the training images.

Pure: counts and times come in, a verdict comes out. The files are in drift_file.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from tenshot.automl.usual import STEPS, Floats, Usual

HOUR_S = 3600
FEWEST = 30
"""Images of an hour below which nothing is said."""
CHANCE, DISTANCE = 1e-4, 0.25
"""An hour has drifted if it is less likely and farther than these: one false alarm in more than a year of busy hours,
and none for a difference that is real but too small to matter."""

Tallies = dict[str, Counter[int]]
"""Signal → bin → images."""


class Verdict(StrEnum):
    UNAVAILABLE = "not available"
    """The bundle knows nothing to compare with."""
    UNKNOWN = "unknown"
    """Too few images."""
    USUAL = "usual"
    DRIFTED = "drifted"


@dataclass(frozen=True, slots=True)
class Part:
    """What one signal says."""

    distance: float
    chance: float
    shift: float | None
    """None where the training images are all alike."""
    images: int


@dataclass(frozen=True, slots=True)
class Drift:
    verdict: Verdict
    images: int
    """That were seen."""
    compared_with: int = 0
    """Training images."""
    parts: Mapping[str, Part] | None = None

    @property
    def worst(self) -> Part | None:
        return max(self.parts.values(), key=lambda part: part.distance) if self.parts else None

    @property
    def distance(self) -> float | None:
        return self.worst.distance if self.worst else None

    def to_json(self) -> dict[str, Any]:
        worst = self.worst
        signals = {
            name: {"distance": _rounded(p.distance), "chance": p.chance, "shift": _rounded(p.shift), "images": p.images}
            for name, p in (self.parts or {}).items()
        }
        return {
            "verdict": str(self.verdict),
            "distance": worst and _rounded(worst.distance),
            "shift": worst and _rounded(worst.shift),
            "chance": worst and worst.chance,
            "images": self.images,
            "compared_with": self.compared_with,
            "signals": signals,
        }


def bin_of(signal: str, value: float) -> int:
    return math.floor(value / STEPS[signal] + 1e-9)  # 0.29 / 0.01 is a little under 29


def add(tallies: Tallies, signals: Mapping[str, float]) -> None:
    """Count one image."""
    for name, value in signals.items():
        tallies.setdefault(name, Counter())[bin_of(name, value)] += 1


def merge(into: Tallies, more: Mapping[str, Mapping[int, int]]) -> None:
    for name, bins in more.items():
        into.setdefault(name, Counter()).update(bins)


def images_in(tallies: Mapping[str, Mapping[int, int]]) -> int:
    """Not every image has every signal."""
    return max((sum(bins.values()) for bins in tallies.values()), default=0)


def compare(usual: Usual | None, tallies: Tallies, fewest: int = FEWEST) -> Drift:
    """What was seen with what is usual; `tallies` are of signals that `usual` need not know."""
    images = images_in(tallies)
    if usual is None:
        return Drift(Verdict.UNAVAILABLE, images)
    known = max(len(values) for values in usual.signals.values())
    shared = {name: bins for name, bins in tallies.items() if name in usual.signals and sum(bins.values()) >= fewest}
    if not shared:
        return Drift(Verdict.UNKNOWN, images, known)
    parts = {name: _part(name, usual.signals[name], bins, len(shared)) for name, bins in sorted(shared.items())}
    drifted = any(part.chance < CHANCE and part.distance >= DISTANCE for part in parts.values())
    return Drift(Verdict.DRIFTED if drifted else Verdict.USUAL, images, known, parts)


def _part(name: str, usual: Floats, bins: Counter[int], signals: int) -> Part:
    expected = Counter(bin_of(name, float(value)) for value in usual)
    places = sorted(set(expected) | set(bins))
    seen, known = (np.array([counts[place] for place in places], np.float64) for counts in (bins, expected))
    gaps = np.abs(np.cumsum(seen) / seen.sum() - np.cumsum(known) / known.sum())
    distance = float(gaps.max())
    chance = min(1.0, signals * chance_of(distance, seen.sum(), known.sum()))
    spread = float(usual.std(ddof=1)) if len(usual) > 1 else 0.0
    middle = float(np.dot(np.array(places) + 0.5, seen) / seen.sum()) * STEPS[name]
    # A count lies at the start of its bin, everything else somewhere in it.
    middle -= 0.5 if STEPS[name] == 1.0 else 0.0
    shift = (middle - float(usual.mean())) / spread if spread > 0 else None
    return Part(distance, chance, shift, int(seen.sum()))


def chance_of(distance: float, one: float, other: float) -> float:
    """That two draws of so many values of one distribution are at least so far apart."""
    root = math.sqrt(one * other / (one + other))
    scaled = (root + 0.12 + 0.11 / root) * distance
    if scaled < 0.3:  # the series converges slowly where it is 1 to nine digits
        return 1.0
    total = math.fsum((1.0 if k % 2 else -1.0) * math.exp(-2.0 * (k * scaled) ** 2) for k in range(1, 30))
    return min(1.0, max(0.0, 2.0 * total))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
