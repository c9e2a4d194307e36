"""Learning how strange an image of the same kind as the training images may look (automl/novelty.py).

Each training image is compared with all others that are no near duplicates of it. The strangeness of such images is
close to normal, so a new image of their kind lies where Student's t says (its width knows how few images there were),
and an image keeps its confidence unless it is stranger than `LOSERS` of its kind would be; beyond, it keeps
p / `LOSERS` of it, where p is the chance that an image of their kind is as strange.

The descriptors come from stages that training left as they were pretrained. In a network that was tuned on these very
images they lie closer together than any new image will: leaving one out there would promise too much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.novelty import Floats, Novelty, of_gap, unit
from tenshot.automl.outcome import batches
from tenshot.automl.predictor import RGB, Predictor, prepare

if TYPE_CHECKING:
    from tenshot.datasets.annotations import Entry

MOST_ROWS = 1000
"""Training images that are kept: 2.5 MB, and a comparison takes less than a tenth of the network's time."""
LOSERS = 0.05
"""Share of images like the training images that may lose confidence."""
LEAST = 1e-4
"""What an image keeps that is like nothing: not 0, so that its labels keep their order."""
POINTS = 64
USUAL_SPREAD, USUAL_IMAGES = 0.25, 2
"""What is believed of the spread before any image is seen, and how many images that belief is worth: of two or three
images alike the spread alone would be 0, and every other image strange."""


@dataclass(frozen=True)
class Familiar:
    novelty: Novelty
    own: dict[str, float]
    """Image → its novelty among the others; of the images that are kept."""


def learn(
    predictor: Predictor, entries: Sequence[Entry], groups: Mapping[str, int], load: Callable[[str], RGB], *, seed: int,
    check: Callable[[], None],
) -> Familiar | None:  # fmt: skip
    """Through the exported network. None if it gives no descriptors, or if there are no two images that are not near
    duplicates of each other."""
    chosen = spread_over_labels(entries, MOST_ROWS, seed)
    parts = []
    for batch in batches(chosen):
        check()
        inputs = np.stack([prepare(load(entry.image), predictor.manifest.input) for entry in batch])
        parts.append(predictor.features(predictor.network(inputs)))
    rows = np.concatenate(parts)
    if not rows.shape[1]:
        return None
    found = fit(rows, np.array([groups[entry.image] for entry in chosen]))
    return found and Familiar(found[0], dict(zip([e.image for e in chosen], found[1].tolist(), strict=True)))


def fit(features: NDArray[np.float32], groups: NDArray[Any]) -> tuple[Novelty, Floats] | None:
    """From descriptors [N, D] and near-duplicate groups [N] to the novelty and that of each image among the others
    [N]; None if all are of one group."""
    from scipy.stats import t
    from threadpoolctl import threadpool_limits

    if len(np.unique(groups)) < 2:
        return None
    rows = unit(features.astype(np.float16).astype(np.float32))  # as they will be read from the file
    with threadpool_limits(1, user_api="blas"):
        gaps = 1.0 - (rows @ rows.T).astype(np.float64)
    gaps[groups[:, None] == groups[None, :]] = np.inf
    seen = of_gap(gaps.min(axis=1))
    freedom = USUAL_IMAGES + len(seen) - 1
    squares = USUAL_IMAGES * USUAL_SPREAD**2 + np.square(seen - seen.mean()).sum()
    spread = np.sqrt(squares / freedom * (1 + 1 / len(seen)))
    kept: Floats = np.asarray(np.geomspace(1.0, LEAST, POINTS), np.float64)
    found = Novelty(rows, seen.mean() + spread * t.isf(LOSERS * kept, freedom), kept, seen)
    return found, 1.0 - np.interp(seen, found.strangeness, found.kept)


def spread_over_labels(entries: Sequence[Entry], most: int, seed: int) -> list[Entry]:
    """At most so many: of every combination of labels about equally many, so that a rare one is not strange."""
    order = np.random.default_rng(seed).permutation(len(entries))
    met: dict[tuple[str, ...], int] = {}
    ranked = []
    for i in order:
        key = tuple(sorted(entries[i].labels))
        met[key] = met.get(key, 0) + 1
        ranked.append((met[key], int(i)))
    return [entries[i] for _, i in sorted(ranked)[:most]]
