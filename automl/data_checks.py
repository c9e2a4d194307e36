"""Checks of a dataset that look at the pictures with a pretrained network: rows of `datasets/checks:SEEING`.

Features of the frozen backbone are computed once and kept on disk, so that a later training or check finds them.
Nothing is downloaded here: where the weights are not in the cache the checks say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.base import catalogue, fetch
from tenshot.automl.evaluation.outcomes import ClassificationOutcome
from tenshot.automl.evaluation.review import described
from tenshot.automl.evaluation.suspects import label_errors as contradicted
from tenshot.automl.features import Extractor, Picture
from tenshot.datasets import duplicates
from tenshot.datasets.findings import Finding, Inspection, finding
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import WeightsError
from tenshot.projects.status import Task

if TYPE_CHECKING:
    from tenshot.automl.predictor import RGB
    from tenshot.datasets.annotations import Box, Entry

Rows = NDArray[np.float64]
BACKBONE = "efficientnet_lite2"
FIRST_LABEL_TAP = 3
"""Stages from here on tell labels apart (docs/classification-recipe.md)."""
DOMAIN_TAPS = (5, 7)
SPREAD_FLOOR = 1e-2
REPEATS = 3
MOST_BOXES = 1000
"""Crops that are looked at; of more, an even sample."""
MARGIN = 0.1
"""Of a box's side, around its crop."""
FEWEST = 20
"""Images below which nothing is called unlike the others: there is no saying what they are like."""
STRANGE = 3.5
"""Standard deviations beyond the usual distance, measured robustly."""


def label_errors(found: Inspection) -> Iterator[Finding]:
    """Labels of both splits that a cross-validated classifier on frozen features contradicts."""
    rows = _labeled(found)
    names = sorted({name for _, labels, _ in rows for name in labels})
    if len(names) < 2 or len(rows) < 2 * len(names):
        return
    truth = np.array([[name in labels for name in names] for _, labels, _ in rows])
    extractor = _extractor(found)
    features = _features(found, extractor, [picture for picture, _, _ in rows], "looking for label errors")
    groups = _groups(found, [entry for _, _, entry in rows])
    exclusive = found.task is not Task.MULTILABEL
    logits = out_of_fold(_even(features, extractor), truth, groups, exclusive=exclusive)
    ids = tuple(str(n) for n in range(len(rows)))
    outcome = ClassificationOutcome(tuple(names), ids, truth, logits, logits, exclusive)
    suspects = contradicted(outcome)
    if suspects:
        thing = "boxes" if found.task is Task.DETECTION else "images"
        shown = [f"{rows[int(s.image)][2].name}: {described(s)} ({s.sure:.0%})" for s in suspects]
        message = f"{len(suspects)} labels of {len(rows)} {thing} are probably wrong, the surest first"
        advice = "look at them and correct what is wrong; some are right and merely unusual"
        yield finding("warning", "label-errors", message, advice, shown)


def other_domain(found: Inspection) -> Iterator[Finding]:
    """Images that are far from those of every label."""
    entries = found.readable
    if len(entries) < FEWEST:
        return
    store = ImageStore.of(found.workspace)
    extractor = _extractor(found)
    pictures = [Picture(entry.image, _loader(store, entry)) for entry in entries]
    features = _features(found, extractor, pictures, "looking for strangers")
    kinds = {labels: n for n, labels in enumerate(dict.fromkeys(entry.labels for entry in entries))}
    far = strangeness(_unit(features, extractor), np.array([kinds[entry.labels] for entry in entries]))
    strange = [n for n in np.argsort(-far, kind="stable").tolist() if far[n] > STRANGE]
    if strange:
        message = f"{len(strange)} of {len(entries)} images look unlike all others, the strangest first"
        advice = "remove what does not belong; keep what the model will meet, and add more of its kind"
        shown = [f"{entries[n].name} ({entries[n].split})" for n in strange]
        yield finding("info", "other-domain", message, advice, shown)


def out_of_fold(x: Rows, truth: NDArray[np.bool_], groups: Sequence[int], *, exclusive: bool) -> Rows:
    """[N, C] logits of regressions that had not seen the row or one of its group, the mean of three ways to fold.

    x: [N, D] features, truth: [N, C].
    """
    from threadpoolctl import threadpool_limits

    from tenshot.automl.search.folds import fold_count, folds

    _, strata = np.unique(truth, axis=0, return_inverse=True)
    strata = np.asarray(strata).reshape(-1)
    count = fold_count(strata, np.asarray(groups))
    logits = np.zeros(truth.shape)
    if count < 2:
        return logits
    with threadpool_limits(1, user_api="blas"):
        rows = _compact(x)
        for seed in range(REPEATS):
            for train, held in folds(strata.tolist(), groups, count=count, seed=seed):
                logits[held] += _regressed(rows[train], truth[train], rows[held], exclusive) / REPEATS
    return logits


def _regressed(x: Rows, truth: NDArray[np.bool_], held: Rows, exclusive: bool) -> Rows:
    from sklearn.linear_model import LogisticRegression

    def decided(y: NDArray[Any]) -> Rows:
        model = LogisticRegression(C=1.0, max_iter=200, tol=1e-3).fit(x, y)
        found: Rows = model.decision_function(held)
        return found

    logits: Rows = np.where(truth.all(axis=0), 8.0, -8.0) * np.ones((len(held), 1))
    if not exclusive:
        for c in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
            logits[:, c] = decided(truth[:, c])
        return logits
    present = np.flatnonzero(truth.any(axis=0))
    if len(present) > 1:
        found = decided(truth.argmax(axis=1))
        logits[:, present] = found if len(present) > 2 else np.stack([-found / 2, found / 2], axis=1)
    return logits


def _compact(x: Rows) -> Rows:
    """The rows in the span of the rows: the same distances in at most as many columns as there are rows."""
    centred = x - x.mean(axis=0)
    if len(x) > x.shape[1]:
        return np.asarray(centred)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    keep = values > 1e-9 * max(values[-1], 1e-12)
    return np.asarray(vectors[:, keep] * np.sqrt(values[keep]))


def strangeness(x: Rows, kinds: NDArray[np.int64]) -> Rows:
    """[N] how far each row of unit length is from the nearest mean of a kind, or of all; itself left out of the means.

    In standard deviations beyond the median, taken from the upper half of the distances up to their 90 % quantile, so
    that a set with a broad edge calls little strange.
    """
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]
    near: Rows = np.full(len(x), -1.0)
    for rows in [*groups, np.arange(len(x))]:
        near = np.where(*_nearness(x, rows, near))
    distance = np.sqrt(np.maximum(1 - near, 0))
    middle, upper = np.median(distance), np.quantile(distance, 0.9)
    spread = max(1.4826 * float(np.median(np.abs(distance - middle))), float(upper - middle) / 1.28, 1e-3)
    return np.asarray((distance - middle) / spread)


def _nearness(x: Rows, rows: NDArray[np.int64], near: Rows) -> tuple[NDArray[np.bool_], Rows, Rows]:
    """Which rows of x can be compared with these rows' mean, the better cosine then, and what they had."""
    counts = np.full(len(x), len(rows))
    counts[rows] -= 1
    total = np.tile(x[rows].sum(axis=0), (len(x), 1))
    total[rows] -= x[rows]
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    return counts >= 2, np.maximum(near, (x * total).sum(axis=1)), near


# Pictures and their features ------------------------------------------------------------------------------------------


def _extractor(found: Inspection) -> Extractor:
    """Raises WeightsError where its weights would have to be downloaded first."""
    row = catalogue.row(BACKBONE)
    if not (fetch.models_dir(found.workspace) / row.file_name).is_file():
        raise WeightsError(f"the weights of {BACKBONE} are not here", hint=f"tenshot models pull {BACKBONE}")
    return Extractor(found.workspace, BACKBONE, "stretch")


def _labeled(found: Inspection) -> list[tuple[Picture, tuple[str, ...], Entry]]:
    """Image or crop, its labels, and where it comes from."""
    store = ImageStore.of(found.workspace)
    entries = [entry for entry in found.readable if entry.labeled]
    if found.task is not Task.DETECTION:
        kept = entries if found.task is Task.MULTILABEL else [entry for entry in entries if entry.labels]
        return [(Picture(entry.image, _loader(store, entry)), entry.labels, entry) for entry in kept]
    boxes = [(entry, box) for entry in entries for box in entry.boxes]
    step = max(1, -(-len(boxes) // MOST_BOXES))
    return [(_crop(store, entry, box), (box.label,), entry) for entry, box in boxes[::step]]


def _loader(store: ImageStore, entry: Entry) -> Callable[[], RGB]:
    return lambda: store.load(entry.image)


def _crop(store: ImageStore, entry: Entry, box: Box) -> Picture:
    left, right = _cut(box.left, box.width, entry.width_px)
    top, bottom = _cut(box.top, box.height, entry.height_px)
    name = f"{entry.image}-{left}-{top}-{right}-{bottom}"
    return Picture(name, lambda: np.ascontiguousarray(store.load(entry.image)[top:bottom, left:right]))


def _cut(start: float, length: float, side_px: int) -> tuple[int, int]:
    """First and last pixel of a box along one side, with a margin; at least one pixel."""
    first = int(np.clip((start - MARGIN * length) * side_px, 0, side_px - 1))
    last = int(np.clip(np.ceil((start + (1 + MARGIN) * length) * side_px), first + 1, side_px))
    return first, last


def _features(found: Inspection, extractor: Extractor, pictures: Sequence[Picture], what: str) -> Rows:
    """[N, D]"""
    done = 0

    def advance() -> None:
        nonlocal done
        found.progress({"done": done, "total": len(pictures), "what": what})
        done += 1

    return np.asarray(extractor.features(pictures, "plain", 1, advance)[:, 0], np.float64)


def _groups(found: Inspection, entries: Sequence[Entry]) -> list[int]:
    """Near duplicates stay together, and boxes of one image."""
    images = list(dict.fromkeys(entry.image for entry in entries))
    rows = duplicates.near_rows([found.fingerprints[image] for image in images])
    number = dict(zip(images, duplicates.group_numbers(len(images), rows), strict=True))
    return [number[entry.image] for entry in entries]


def _even(features: Rows, extractor: Extractor) -> Rows:
    """The later stages side by side, every feature of the same spread, every stage of the same length."""
    taps = [tap for tap in extractor.slices if tap >= FIRST_LABEL_TAP]
    parts = []
    for tap in taps:
        part = features[:, slice(*extractor.slices[tap])]
        spread = part.std(axis=0)
        floor = SPREAD_FLOOR * (float(np.sqrt(np.square(spread).mean())) or 1.0)
        parts.append((part - part.mean(axis=0)) / np.maximum(spread, floor) / np.sqrt(part.shape[1] * len(taps)))
    return np.concatenate(parts, axis=1)


def _unit(features: Rows, extractor: Extractor) -> Rows:
    parts = [features[:, slice(*extractor.slices[tap])] for tap in DOMAIN_TAPS]
    rows = np.concatenate([_to_length_1(part) for part in parts], axis=1)
    return _to_length_1(rows)


def _to_length_1(rows: Rows) -> Rows:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
