"""Fit the calibration of a version on its out-of-fold outcome. Numpy only.

How rich it may be depends on the samples (images, or boxes of a detector):

| samples | one label an image | any number of labels | boxes |
|---|---|---|---|
| fewer than 200 | a temperature | one slope and intercept | one slope and intercept |
| 200 to 1000 | + slope and intercept per label | + slope and intercept per label | |
| more | + an isotonic curve per label | + an isotonic curve per label | + an isotonic curve |

Each step must earn its place: it is fitted without the samples that it is judged on (cross-validated over images), and
taken only if their log loss gets clearly smaller and their Brier score no larger. Otherwise the scores stay as they
are, which is the right thing for scores that are right already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tenshot.automl.evaluation import detection_metrics, metrics, scaling
from tenshot.automl.evaluation.outcomes import (
    Bools,
    Boxes,
    ClassificationOutcome,
    DetectionOutcome,
    Floats,
    Ints,
    Outcome,
)
from tenshot.automl.scores import Calibration, logit

VECTOR_FROM, ISOTONIC_FROM = 200, 1000
MOST_LABELS = 200
"""Of a vector scaling, whose solver works on a square of twice as many."""
FEWEST_IMAGES = 4
FOLDS_OF_FEW, FOLDS = 20, 5
FEW = 200
SURE = 1.645
"""Standard errors by which a step must be better: 95 % one-sided. With 1.3, one fit in fourteen of a fault that no
step can mend made things worse by more than 0.001."""
_LINE_SD = {"sigmoid": (0.5, 1.0), "platt": (1.0, 3.0)}
_LABEL_SD = (0.5, 1.0)
_TINY = 1e-12


@dataclass(frozen=True)
class _Samples:
    """What is calibrated: images with all their labels, or boxes."""

    kind: Literal["softmax", "sigmoid", "platt"]
    raw: Floats
    """[K, C], or [K] for boxes."""
    truth: Floats
    """0 or 1, of the shape of `raw`."""
    image: Ints
    """[K]"""

    def __len__(self) -> int:
        return len(self.raw)

    def part(self, keep: Bools) -> _Samples:
        return replace(self, raw=self.raw[keep], truth=self.truth[keep], image=self.image[keep])

    def losses(self, calibration: Calibration) -> Floats:
        """[K, 2]: log loss and squared error of each."""
        scores = calibration.apply(self.raw)
        surprise = -np.log(np.clip(np.where(self.truth > 0, scores, 1 - scores), _TINY, 1.0))
        squares = (scores - self.truth) ** 2
        if self.kind == "softmax":
            return np.stack([(surprise * self.truth).sum(axis=1), squares.sum(axis=1) / 2], axis=1)
        if self.kind == "sigmoid":
            return np.stack([surprise.mean(axis=1), squares.mean(axis=1)], axis=1)
        return np.stack([surprise, squares], axis=1)


Step = Callable[[_Samples, Calibration], Calibration]


def fit(outcome: Outcome, *, seed: int = 0) -> Calibration:
    """`softmax` (one label an image), `sigmoid` (multilabel) or `platt` (detection; a box is right if it is matched at
    IoU 0.5; boxes with a raw score of at least 0.01). The identity where nothing shows that another is better."""
    samples = _samples(outcome)
    found = Calibration(samples.kind)
    if not len(samples):
        return found
    folds = _folds(samples.image, seed)
    bases = [found] * (int(folds.max()) + 1)
    for step in _ladder(samples):
        if len(bases) < 2:
            break
        tried = [step(samples.part(folds != f), base) for f, base in enumerate(bases)]
        whole = step(samples, found)
        if _clearly_better(samples, folds, tried, bases) and _no_worse(samples, whole, found):
            found, bases = whole, tried
    return found


def simplest(outcome: Outcome) -> Calibration:
    """The first step alone, unasked whether it helps: quick and smooth, for comparing the trials of a search."""
    samples = _samples(outcome)
    return _scale(samples, Calibration(samples.kind)) if len(samples) else Calibration(samples.kind)


def apply_to(outcome: Outcome, calibration: Calibration) -> Outcome:
    """The same outcome with its scores made anew from its raw outputs."""
    if isinstance(outcome, ClassificationOutcome):
        return outcome.judged(calibration.apply(outcome.raw))
    return _boxes_scored(outcome, calibration.apply)


def quality(outcome: Outcome) -> dict[str, float]:
    """`brier`, `ece`, `nll` of the outcome's scores: call it before and after to see what calibration did."""
    if isinstance(outcome, ClassificationOutcome):
        values = metrics.classification_metrics(outcome)
    else:
        values = detection_metrics.detection_metrics(outcome)
    return {name: values[name] for name in ("brier", "ece", "nll") if name in values}


def _samples(outcome: Outcome) -> _Samples:
    if isinstance(outcome, ClassificationOutcome):
        kind: Literal["softmax", "sigmoid"] = "softmax" if outcome.exclusive else "sigmoid"
        raw = np.asarray(outcome.raw, np.float64)
        return _Samples(kind, raw, outcome.truth.astype(np.float64), np.arange(len(outcome)))
    # Matching goes best first: by the raw scores, whose order every calibration of boxes keeps.
    matches = detection_metrics.match(_boxes_scored(outcome, lambda raw: raw))
    return _Samples("platt", *detection_metrics.confidences(matches))


def _boxes_scored(outcome: DetectionOutcome, score: Callable[[Floats], Floats]) -> DetectionOutcome:
    found = tuple(Boxes(b.xyxy, b.label, score(b.raw), b.raw) for b in outcome.predictions)
    return replace(outcome, predictions=found)


# Steps ----------------------------------------------------------------------------------------------------------------


def _ladder(samples: _Samples) -> list[Step]:
    several = samples.raw.ndim == 2 and 1 < samples.raw.shape[1] <= MOST_LABELS
    steps: list[Step] = [_scale]
    if len(samples) >= VECTOR_FROM and several:
        steps.append(_scale_labels)
    if len(samples) > ISOTONIC_FROM:
        steps.append(_bend)
    return steps


def _scale(samples: _Samples, base: Calibration) -> Calibration:
    if samples.kind == "softmax":
        return replace(base, temperature=scaling.temperature(samples.raw, samples.truth.argmax(axis=1)))
    values = logit(samples.raw) if samples.kind == "platt" else samples.raw
    slope, intercept = scaling.line(values.ravel(), samples.truth.ravel(), *_LINE_SD[samples.kind])
    return replace(base, slope=slope, intercept=intercept)


def _scale_labels(samples: _Samples, base: Calibration) -> Calibration:
    logits = base.logits(samples.raw)
    if samples.kind == "softmax":
        slopes, intercepts = scaling.vector(logits, samples.truth.argmax(axis=1))
    else:
        lines = [scaling.line(logits[:, c], samples.truth[:, c], *_LABEL_SD) for c in range(logits.shape[1])]
        slopes, intercepts = (tuple(side) for side in zip(*lines, strict=True))
    return replace(base, slopes=slopes, intercepts=intercepts)


def _bend(samples: _Samples, base: Calibration) -> Calibration:
    if samples.kind == "platt":
        low, high = base.logits(np.array([0.0, 1.0])).tolist()
        return replace(base, knots=(scaling.isotonic(base.logits(samples.raw), samples.truth > 0, low, high),))
    scores = logit(base.apply(samples.raw)) if samples.kind == "softmax" else base.logits(samples.raw)
    far = max(scaling.FARTHEST, float(np.abs(scores).max()) + 1)
    columns = range(scores.shape[1])
    return replace(
        base, knots=tuple(scaling.isotonic(scores[:, c], samples.truth[:, c] > 0, -far, far) for c in columns)
    )


# The judge ------------------------------------------------------------------------------------------------------------


def _folds(image: Ints, seed: int) -> Ints:
    """[K] the fold of each sample; all samples of an image are in one. A single fold where there are too few images."""
    images = np.unique(image)
    if len(images) < FEWEST_IMAGES:
        return np.zeros(len(image), np.int64)
    count = min(len(images), FOLDS_OF_FEW if len(image) < FEW else FOLDS)
    of_image = np.random.default_rng(seed).permutation(len(images)) % count
    return np.asarray(of_image[np.searchsorted(images, image)], np.int64)


def _clearly_better(samples: _Samples, folds: Ints, tried: list[Calibration], bases: list[Calibration]) -> bool:
    gain = np.zeros((len(samples), 2))
    for fold, (new, old) in enumerate(zip(tried, bases, strict=True)):
        held = folds == fold
        part = samples.part(held)
        gain[held] = part.losses(old) - part.losses(new)
    images, where = np.unique(samples.image, return_inverse=True)
    of_image = np.zeros((len(images), 2))
    np.add.at(of_image, where, gain)  # boxes of one image stand and fall together
    mean, error = of_image.mean(axis=0), of_image.std(axis=0, ddof=1) / np.sqrt(len(images))
    return bool(mean[0] > SURE * error[0] and mean[1] >= 0)


def _no_worse(samples: _Samples, new: Calibration, old: Calibration) -> bool:
    return bool((samples.losses(new).mean(axis=0) <= samples.losses(old).mean(axis=0) + _TINY).all())
