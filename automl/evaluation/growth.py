"""What more images would bring: an inverse power law through the scores of smaller training sets.

error(n) = c + (e - c) (n / m)^-b, with n training images per label, m as many as there are now, e the error there,
c what no number of images removes, and b how fast the rest falls. With three or four noisy points and three unknowns
there is no fit without a prior: b around 0.5, as heads on frozen features show it, c small beside e. All three are
averaged over a grid, weighted by the points and the prior, and the range is what that average leaves open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tenshot.automl.evaluation.outcomes import Floats

MORE = 10
USUAL_SPEED, SPEED_SPREAD = 0.6, 0.3
SPEEDS: Floats = np.linspace(0.05, 1.5, 30, dtype=np.float64)
FLOORS: Floats = np.linspace(0.0, 0.95, 20, dtype=np.float64)
"""c as a share of e."""
ERRORS: Floats = np.geomspace(0.002, 1.0, 80, dtype=np.float64)
RANGE = (0.05, 0.95)
TAIL = 1.645
LUCK = 0.5
"""How much one training set of so many images is better or worse than another, beside the error of a share that is
counted on as many images (measured: docs/honesty.md)."""
LEAST_NOISE = 0.01
LEAST_VARIANCE = 0.03
FEWEST_POINTS = 2

Point = tuple[float, float, float]
"""Training images per label, score 0…1, its standard deviation."""


@dataclass(frozen=True)
class Forecast:
    metric: str
    own: bool
    """Whether it is the curve of this version's recipe; else that of a head on frozen features, which stands in for
    one that takes too long to train again and again."""
    now: float
    """Training images per label, the mean over the labels."""
    score: float
    """0…1, expected with as many."""
    later: float
    """0…1, expected with ten more of each label."""
    gain: float
    """Of the score; its mean."""
    low: float
    high: float
    """90 % range of the gain."""
    points: tuple[Point, ...]
    curve: tuple[Point, ...]
    """Images per label, lowest and highest expected score (90\u00a0%)."""
    more: int = MORE

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def forecast(points: Sequence[Point], *, now: float, images: int, metric: str, own: bool = True) -> Forecast | None:
    """None for fewer than two points. `now`: images per label that the model is trained on. `images`: how many the
    points were scored on, the same ones for all."""
    if len(points) < FEWEST_POINTS or now <= 0:
        return None
    law, weights = _posterior(points, now, images)
    end = now + MORE
    here, there = _errors(law, now, now), _errors(law, end, now)
    low, high = _quantiles(here - there, weights, luck=LUCK * float(np.sqrt(weights @ (here * (1 - here)) / images)))
    steps = np.geomspace(max(1.0, min(p[0] for p in points)), end, 30)
    return Forecast(
        metric=metric,
        own=own,
        now=now,
        score=float(1 - weights @ here),
        later=float(1 - weights @ there),
        gain=float(weights @ (here - there)),
        low=low,
        high=high,
        points=tuple(points),
        curve=tuple(_band(law, weights, float(n), now) for n in steps),
    )


def _posterior(points: Sequence[Point], now: float, images: int) -> tuple[tuple[Floats, Floats, Floats], Floats]:
    """(e, b, c) of every cell of the grid [G], and their weights [G].

    The points share the luck of the images that they were scored on: with ten of them 0.90 may be 0.75 on new ones. So
    their errors have a common part besides each one's own.
    """
    e, b, share = (part.ravel() for part in np.meshgrid(ERRORS, SPEEDS, FLOORS, indexing="ij"))
    law = (e, b, share * e)
    sizes, scores, spreads = (np.array(column, np.float64) for column in zip(*points, strict=True))
    own = np.maximum(spreads, LEAST_NOISE) ** 2
    common = max(float(np.mean(scores * (1 - scores))), LEAST_VARIANCE) / max(1, images)
    precision = np.linalg.inv(np.diag(own) + common)
    off = np.stack([_errors(law, float(n), now) for n in sizes]) - (1 - scores)[:, None]
    # The grid is even in log e, so that a step holds e times as much of it; small c is more plausible than one near e.
    prior = np.log(e) + np.log1p(-share) - 0.5 * ((b - USUAL_SPEED) / SPEED_SPREAD) ** 2
    log = prior - 0.5 * np.einsum("pg,pq,qg->g", off, precision, off)
    weights = np.exp(log - log.max())
    return law, np.asarray(weights / weights.sum())


def _errors(law: tuple[Floats, Floats, Floats], n: float, now: float) -> Floats:
    e, b, c = law
    return np.asarray(np.minimum(c + (e - c) * (n / now) ** -b, 1.0))


def _band(law: tuple[Floats, Floats, Floats], weights: Floats, n: float, now: float) -> Point:
    low, high = _quantiles(1 - _errors(law, n, now), weights)
    return n, low, high


def _quantiles(values: Floats, weights: Floats, luck: float = 0.0) -> tuple[float, float]:
    """The 5 % and the 95 % quantile, of the values plus a normal error of standard deviation `luck`."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    places = [min(len(values) - 1, int(np.searchsorted(reached, q))) for q in (RANGE[0], 0.5, RANGE[1])]
    low, middle, high = (float(values[order][place]) for place in places)
    return middle - float(np.hypot(middle - low, TAIL * luck)), middle + float(np.hypot(high - middle, TAIL * luck))


def sentence(found: Forecast, name: str) -> str:
    """For people; `name` is the metric as they write it."""
    low, high = max(0, round(100 * found.low)), max(0, round(100 * found.high))
    reach = (
        f"between {low or 'nothing'} and {high} {_points(high)}" if high > low else f"at most {high} {_points(high)}"
    )
    if round(100 * found.gain) < 1:
        return (
            f"{MORE} more images of each label would hardly raise {name} ({reach}, 90\u00a0%): "
            "look at the mistakes and at the labels instead."
        )
    gain = round(100 * found.gain)
    end = (
        f", from about {found.score:.2f} to {found.later:.2f}" if found.own else ", as a head on frozen features shows"
    )
    by = f"{gain} {_points(gain)}"
    return f"{MORE} more images of each label would raise {name} by about {by} ({reach}, 90\u00a0%){end}."


def _points(count: int) -> str:
    return "point" if count == 1 else "points"
