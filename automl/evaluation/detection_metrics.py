"""Average precision of detectors as COCO defines it (all areas, at most 100 boxes per image and label). Numpy only.

Boxes are matched once per image and IoU; what follows works on image weights [B, N] (see `metrics`), so that a
thousand bootstrap resamples cost two matrix products per label and IoU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tenshot.automl.evaluation import metrics
from tenshot.automl.evaluation.metrics import Counts
from tenshot.automl.evaluation.outcomes import Bools, Boxes, DetectionOutcome, Floats, Ints

IOUS: Floats = np.linspace(0.5, 0.95, 10, dtype=np.float64)
RECALLS: Floats = np.linspace(0.0, 1.0, 101, dtype=np.float64)
MOST_PER_IMAGE = 100
CALIBRATED_FROM = 0.01
"""Boxes with a raw score below this are noise by the thousand; reliability is not measured on them."""
_DENSE_CELLS = 20_000_000


@dataclass(frozen=True)
class Matches:
    """The predictions of one label over all images, best first (R rows), and what they hit."""

    score: Floats
    """[R]"""
    raw: Floats
    """[R]"""
    image: Ints
    """[R] index of the image."""
    hit: Bools
    """[T, R] whether the row found a box of its own, for each IoU of `IOUS`."""
    box: Ints
    """[R] index of the row within its image's predictions."""
    truths: Ints
    """[N] boxes of this label in each image."""


def detection_metrics(outcome: DetectionOutcome, thresholds: Mapping[str, float] | None = None) -> dict[str, float]:
    """Every defined metric by name: `map50`, `map50_95`, `recall_100` (mean over IoUs of the recall of 100 boxes an
    image), `precision`, `recall`, `f1` (at `thresholds` and IoU 0.5, boxes of all labels counted together), `brier`,
    `nll`, `ece` (of boxes with a raw score of at least 0.01)."""
    limits = metrics.limits_of(outcome.labels, thresholds)
    values = metric_samples(match(outcome), limits, np.ones((1, len(outcome))))
    return {name: float(value[0]) for name, value in values.items() if np.isfinite(value[0])}


def metric_samples(
    matches: list[Matches], limits: Floats, weights: Floats, precisions: Floats | None = None
) -> dict[str, Floats]:
    """Metric name → [B] values, one per row of `weights` [B, N]; NaN where undefined.

    `precisions` [B, T, C] are the average precisions for the same weights, if somebody has them already.
    """
    if precisions is None:
        precisions = np.stack([average_precisions(m, weights) for m in matches], axis=-1)
    recall = np.stack([recalls(m, weights) for m in matches], axis=-1)
    found = count(matches, limits, weights)
    pooled = Counts(*(part.sum(axis=1) for part in (found.tp, found.fp, found.fn)))
    score, hit, image = confidences(matches)
    surprise = -np.log(np.clip(np.where(hit > 0, score, 1 - score), 1e-12, 1.0))
    return {
        "map50": metrics.nanmean(precisions[:, 0]),
        "map50_95": metrics.nanmean(precisions.reshape(len(weights), -1)),
        "recall_100": metrics.nanmean(recall.reshape(len(weights), -1)),
        "precision": pooled.precision,
        "recall": pooled.recall,
        "f1": pooled.f1,
        "brier": metrics.mean((score - hit) ** 2, weights[:, image]),
        "nll": metrics.mean(surprise, weights[:, image]),
        "ece": metrics.ece(score, hit, image, weights),
    }


def match(outcome: DetectionOutcome) -> list[Matches]:
    """One entry per label."""
    return [_match_label(outcome, label) for label in range(len(outcome.labels))]


def average_precisions(matches: Matches, weights: Floats) -> Floats:
    """[B, T] 101-point interpolated average precision at each IoU; NaN where the label has no box."""
    total = weights @ matches.truths
    return np.stack([_average_precision(matches, hit, weights, total) for hit in matches.hit], axis=1)


def recalls(matches: Matches, weights: Floats) -> Floats:
    """[B, T] share of the boxes found when every prediction counts."""
    hits = np.stack([np.bincount(matches.image[hit], minlength=weights.shape[1]) for hit in matches.hit])
    return metrics.ratio(weights @ hits.T, np.repeat((weights @ matches.truths)[:, None], len(IOUS), axis=1))


def count(matches: list[Matches], limits: Floats, weights: Floats) -> Counts:
    """Of each label at its threshold and IoU 0.5, [B, C]. Greedy matching goes best first, so that the boxes below the
    threshold never took a truth from one above it."""
    hits, misses, truths = (np.zeros((weights.shape[1], len(matches))) for _ in range(3))
    for label, (m, limit) in enumerate(zip(matches, limits, strict=True)):
        said = m.score >= limit
        hits[:, label] = np.bincount(m.image[said & m.hit[0]], minlength=len(hits))
        misses[:, label] = np.bincount(m.image[said & ~m.hit[0]], minlength=len(hits))
        truths[:, label] = m.truths
    return Counts(weights @ hits, weights @ misses, weights @ (truths - hits))


def precision_recall(matches: Matches) -> tuple[Floats, Floats, Floats]:
    """recall, precision, threshold after each distinct score at IoU 0.5, best first; empty without a box."""
    if not matches.truths.sum():
        return np.zeros(0), np.zeros(0), np.zeros(0)
    last = np.flatnonzero(np.append(matches.score[1:] != matches.score[:-1], [True] * min(1, len(matches.score))))
    hits = np.cumsum(matches.hit[0])[last]
    return hits / matches.truths.sum(), hits / (last + 1), matches.score[last]


def confidences(matches: list[Matches]) -> tuple[Floats, Floats, Ints]:
    """What reliability is measured on: score [K], whether the box is right at IoU 0.5 [K], image index [K]."""
    if not matches:
        return np.zeros(0), np.zeros(0), np.zeros(0, np.int64)
    chosen = [m.raw >= CALIBRATED_FROM for m in matches]
    parts = [(m.score[c], m.hit[0][c].astype(np.float64), m.image[c]) for m, c in zip(matches, chosen, strict=True)]
    score, hit, image = (np.concatenate(column) for column in zip(*parts, strict=True))
    return score, hit, image


def error_kinds(outcome: DetectionOutcome, thresholds: Mapping[str, float] | None = None) -> dict[str, int]:
    """Why boxes above their threshold are wrong, and what is missing, at IoU 0.5.

    `label`: sits on a box of another label; `position`: touches a box of its label (IoU 0.1…0.5); `duplicate`: a second
    one on a box already found; `background`: none of these; `missed`: a box that nothing found.
    """
    kinds = dict.fromkeys(("label", "position", "duplicate", "background", "missed"), 0)
    limits = metrics.limits_of(outcome.labels, thresholds)
    for truth, found in zip(outcome.truth, outcome.predictions, strict=True):
        hits, missed = judge(truth, found, limits)
        kinds["missed"] += len(missed)
        overlap = iou(found.xyxy, truth.xyxy)
        for row in np.flatnonzero((found.score >= limits[found.label]) & ~hits).tolist():
            kinds[_kind(overlap[row], truth.label == found.label[row])] += 1
    return kinds


def judge(truth: Boxes, found: Boxes, limits: Floats) -> tuple[Bools, Ints]:
    """For one image at IoU 0.5: which predictions above their threshold are right [K], which truths were missed."""
    hits, taken = np.zeros(len(found), bool), np.zeros(len(truth), bool)
    said = found.score >= limits[found.label] if len(found) else hits
    for label in np.unique(truth.label).tolist():
        rows, truths = np.flatnonzero(said & (found.label == label)), np.flatnonzero(truth.label == label)
        rows = rows[np.argsort(-found.score[rows], kind="stable")]
        which = _assign(iou(found.xyxy[rows], truth.xyxy[truths]), IOUS[:1])[0]
        hits[rows[which >= 0]] = True
        taken[truths[which[which >= 0]]] = True
    return hits, np.flatnonzero(~taken)


def iou(boxes: Floats, others: Floats) -> Floats:
    """[K, G] overlap of every pair of boxes, 0…1; 0 for boxes without area."""
    boxes, others = boxes.reshape(-1, 4), others.reshape(-1, 4)
    corner = np.minimum(boxes[:, None, 2:], others[None, :, 2:]) - np.maximum(boxes[:, None, :2], others[None, :, :2])
    shared = np.prod(np.maximum(corner, 0.0), axis=2)
    area, other = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.nan_to_num(metrics.ratio(shared, area[:, None] + other[None, :] - shared))


def _match_label(outcome: DetectionOutcome, label: int) -> Matches:
    parts = [
        _match_image(number, truth, found, label)
        for number, (truth, found) in enumerate(zip(outcome.truth, outcome.predictions, strict=True))
    ]
    truths = np.array([(truth.label == label).sum() for truth in outcome.truth], np.int64)
    if not parts:
        nothing = np.zeros(0)
        empty = nothing.astype(np.int64)
        return Matches(nothing, nothing, empty, np.zeros((len(IOUS), 0), bool), empty, truths)
    score, raw, image, box = (np.concatenate([part[k] for part in parts]) for k in range(4))
    best = np.argsort(-score, kind="stable")
    hit = np.concatenate([part[4] for part in parts], axis=1)
    return Matches(
        score[best], raw[best], image[best].astype(np.int64), hit[:, best], box[best].astype(np.int64), truths
    )


def _match_image(number: int, truth: Boxes, found: Boxes, label: int) -> tuple[Floats, Floats, Ints, Ints, Bools]:
    """score, raw, image, row of each prediction of the label, best first, and its hits [T, K]."""
    rows = np.flatnonzero(found.label == label)
    rows = rows[np.argsort(-found.score[rows], kind="stable")][:MOST_PER_IMAGE]
    truths = truth.xyxy.reshape(-1, 4)[truth.label == label]
    which = _assign(iou(found.xyxy.reshape(-1, 4)[rows], truths), IOUS)
    return found.score[rows], found.raw[rows], np.full(len(rows), number), rows, which >= 0


def _assign(overlap: Floats, ious: Floats) -> Ints:
    """[T, K] truth that each prediction takes, or −1. Each takes the free one it overlaps most, in order of score; of
    equals the last, as COCO's own evaluation does."""
    predictions, truths = overlap.shape
    which = np.full((len(ious), predictions), -1, np.int64)
    if not truths:
        return which
    limits = np.minimum(ious, 1 - 1e-10)
    free = np.ones((len(ious), truths), bool)
    for row in np.flatnonzero(overlap.max(axis=1) >= limits[0]).tolist():
        open_to = np.where(free, overlap[row], -1.0)
        best = truths - 1 - open_to[:, ::-1].argmax(axis=1)
        good = np.flatnonzero(open_to[np.arange(len(ious)), best] >= limits)
        which[good, row] = best[good]
        free[good, best[good]] = False
    return which


def _average_precision(matches: Matches, hit: Bools, weights: Floats, total: Floats) -> Floats:
    """[B]. Precision only peaks where a prediction hits, so that only these rows are looked at."""
    rows = np.flatnonzero(hit)
    if not len(rows):
        return np.where(total > 0, 0.0, np.nan)
    right = np.cumsum(weights[:, matches.image[rows]], axis=1)
    wrong = _wrong_before(matches, hit, rows, weights)
    precision = right / (right + wrong + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = np.nan_to_num(metrics.ratio(right, np.repeat(total[:, None], len(rows), axis=1)))
    reached = np.searchsorted(RECALLS, recall, side="right")
    gained = np.diff(reached, axis=1, prepend=0)
    return np.where(total > 0, (envelope * gained).sum(axis=1) / len(RECALLS), np.nan)


def _wrong_before(matches: Matches, hit: Bools, rows: Ints, weights: Floats) -> Floats:
    """[B, H] weighted number of wrong predictions that come before each hit."""
    if weights.shape[1] * len(rows) <= _DENSE_CELLS:
        return weights @ _wrong_by_image(matches, hit, rows, weights.shape[1])
    return np.stack([np.cumsum(row[matches.image] * ~hit)[rows] for row in weights])


def _wrong_by_image(matches: Matches, hit: Bools, rows: Ints, images: int) -> Floats:
    """[N, H] wrong predictions of each image that come before each hit."""
    wrong = np.flatnonzero(~hit)
    follows = np.searchsorted(rows, wrong)
    wrong, follows = wrong[follows < len(rows)], follows[follows < len(rows)]
    cells = np.bincount(matches.image[wrong] * len(rows) + follows, minlength=images * len(rows))
    return np.cumsum(cells.reshape(images, len(rows)), axis=1).astype(np.float64)


def _kind(overlap: Floats, same: Bools) -> str:
    """Why a wrong box with these overlaps is wrong."""
    own, other = overlap[same].max(initial=0.0), overlap[~same].max(initial=0.0)
    if own >= IOUS[0]:
        return "duplicate"
    if other >= IOUS[0]:
        return "label"
    return "position" if own >= 0.1 else "background"
