"""What automl/heads promises, for every row of HEADS; and the basis that the heads are fitted in."""

from __future__ import annotations

import numpy as np
import pytest

from tenshot.automl.heads import HEADS
from tenshot.automl.linear import Head, Linear, Projection, basis, fit

pytestmark = pytest.mark.parametrize("head", list(HEADS))


def blobs(seed: int, classes: int = 3, per_class: int = 8, width: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Far apart blobs of mean squared length about 1; [N, R] and one-hot [N, C]."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, width))
    names = np.repeat(np.arange(classes), per_class)
    x = centres[names] + 0.1 * random.normal(size=(len(names), width))
    return x / np.sqrt(width), np.eye(classes, dtype=bool)[names]


def fitted(head: str, x: np.ndarray, y: np.ndarray, exclusive: bool, strength: float = 1.0) -> Head:
    """The head, its layers checked: each takes what the one before it gives."""
    layers = HEADS.get(head)(x, y, exclusive, strength)
    width = x.shape[1]
    for weight, bias in layers:
        assert weight.shape == (len(bias), width)
        assert np.isfinite(weight).all()
        assert np.isfinite(bias).all()
        width = len(bias)
    assert width == y.shape[1]
    return Head((tuple(Linear(*layer) for layer in layers),))


def logits(head: str, x: np.ndarray, y: np.ndarray, exclusive: bool, strength: float = 1.0) -> np.ndarray:
    return fitted(head, x, y, exclusive, strength).logits(x)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("strength", [0.01, 1.0])
def test_separates_blobs(head: str, classes: int, strength: float) -> None:
    x, y = blobs(0, classes)
    fresh, truth = blobs(1, classes)
    assert (fitted(head, x, y, True, strength).logits(fresh).argmax(1) == truth.argmax(1)).all()


def test_multilabel(head: str) -> None:
    """Two labels that come together as often as apart: each is read from its own direction."""
    random = np.random.default_rng(0)
    y = np.array([[a, b] for a in (0, 1) for b in (0, 1) for _ in range(8)], bool)
    directions = np.eye(2, 12)
    x = y @ directions + 0.05 * random.normal(size=(len(y), 12))
    centred = x - x.mean(0)
    assert ((logits(head, centred, y, False, 0.01) > 0) == y).all()


@pytest.mark.parametrize("exclusive", [True, False])
def test_absent_label_is_never_said(head: str, exclusive: bool) -> None:
    x, y = blobs(0, 2)
    y = np.concatenate([y, np.zeros((len(y), 1), bool)], axis=1)
    found = logits(head, x, y, exclusive)
    assert (found.argmax(1) != 2).all()
    assert (found[:, 2] < 0).all()


def test_single_class(head: str) -> None:
    x, _ = blobs(0, 2)
    y = np.zeros((len(x), 2), bool)
    y[:, 1] = True
    assert (logits(head, x, y, True).argmax(1) == 1).all()


def test_label_on_every_image(head: str) -> None:
    x, y = blobs(0, 2)
    y[:, 0] = True
    assert (logits(head, x, y, False)[:, 0] > 0).all()


def test_two_images(head: str) -> None:
    x, y = blobs(0, 2, per_class=1)
    assert (logits(head, x - x.mean(0), y, True).argmax(1) == [0, 1]).all()


def test_strength_shrinks(head: str) -> None:
    x, y = blobs(0)
    sizes = [float(logits(head, x - x.mean(0), y, True, s).std()) for s in (0.01, 1.0, 100.0)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_same_rows_same_head(head: str) -> None:
    x, y = blobs(0)
    one, two = HEADS.get(head)(x, y, True, 1.0), HEADS.get(head)(x, y, True, 1.0)
    for layer, again in zip(one, two, strict=True):
        assert np.array_equal(layer[0], again[0])
        assert np.array_equal(layer[1], again[1])


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize(("rows", "widths"), [(12, (30, 50)), (40, (6, 9))], ids=["more columns", "more rows"])
def test_folded_equals_the_head_in_the_basis(head: str, standardise: bool, rows: int, widths: tuple[int, ...]) -> None:
    random = np.random.default_rng(3)
    x = (random.normal(size=(rows, sum(widths))) * random.uniform(0.1, 30, sum(widths)) + 5).astype(np.float32)
    y = np.eye(2, dtype=bool)[np.arange(rows) % 2]
    found = basis(x, widths, standardise=standardise)
    folded = fit(found, y, head=head, exclusive=True, strength=1.0)
    np.testing.assert_allclose(folded.logits(x), logits(head, found.rows, y, True), atol=1e-4)
    # The basis keeps every distance between the rows, so that nothing is lost.
    scaled = (x - found.mean) / found.scale
    np.testing.assert_allclose(found.rows @ found.rows.T, scaled @ scaled.T, atol=1e-6)


def test_a_wide_tap_does_not_drown_a_narrow_one(head: str) -> None:
    """The label is in 4 features of small values beside 2000 of large noise."""
    random = np.random.default_rng(0)
    y = np.eye(2, dtype=bool)[np.arange(40) % 2]
    narrow = np.where(y[:, :1], 0.01, -0.01) + 0.001 * random.normal(size=(40, 4))
    wide = 100 * random.normal(size=(40, 2000))
    x = np.concatenate([wide, narrow], axis=1).astype(np.float32)
    train, held = np.arange(20), np.arange(20, 40)
    found = basis(x[train], (2000, 4), standardise=True)
    np.testing.assert_allclose(np.square(found.rows).sum(1).mean(), 1.0, rtol=0.05)
    head_ = fit(found, y[train], head=head, exclusive=True, strength=1.0)
    assert (head_.logits(x[held]).argmax(1) == y[held].argmax(1)).mean() >= 0.9


@pytest.mark.parametrize("projection", ["none", "pca", "whiten"])
@pytest.mark.parametrize("rows", [12, 40], ids=["more columns", "more rows"])
def test_folded_projection(head: str, projection: Projection, rows: int) -> None:
    """A head in projected rows is the same head on the raw features, and it still tells blobs apart."""
    x, y = blobs(0, 2, rows // 2)
    x = (x * 7 + 3).astype(np.float32)
    found = basis(x, (12, 8), standardise=True, projection=projection)
    folded = fit(found, y, head=head, exclusive=True, strength=0.1)
    np.testing.assert_allclose(folded.logits(x), logits(head, found.rows, y, True, 0.1), atol=1e-4)
    assert (folded.logits(x).argmax(1) == y.argmax(1)).all()


def test_constant_features(head: str) -> None:
    """A dead channel has no spread to divide by."""
    x, y = blobs(0)
    with_dead = np.concatenate([x, np.zeros((len(x), 5)), np.full((len(x), 5), 7.0)], axis=1).astype(np.float32)
    found = fit(basis(with_dead, (20, 10), standardise=True), y, head=head, exclusive=True, strength=1.0)
    assert np.isfinite(found.logits(with_dead)).all()
    assert (found.logits(with_dead).argmax(1) == y.argmax(1)).all()


def test_identical_rows(head: str) -> None:
    """Nothing to tell apart at all: finite, and no direction is made up."""
    x = np.full((4, 6), 3.0, np.float32)
    y = np.eye(2, dtype=bool)[[0, 1, 0, 1]]
    found = fit(basis(x, (2, 4), standardise=True), y, head=head, exclusive=True, strength=1.0)
    assert np.isfinite(found.logits(x)).all()
