"""Heads in a basis of the data are heads on the features."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenshot.automl import linear
from tenshot.automl.heads import HEADS
from tenshot.automl.linear import Head, Linear, average, basis, fit
from tenshot.automl.search import frozen
from tenshot.automl.search.frozen import Frozen

LINEAR = [head for head in HEADS if head != "mlp"]
"""A perceptron starts from random weights on its directions, so that turning them gives another one."""


@pytest.mark.parametrize("head", LINEAR)
@pytest.mark.parametrize("standardise", [True, False])
def test_more_rows_than_features(head: str, standardise: bool) -> None:
    """Twice the rows of the same kind: without a decomposition comes out what comes out with one."""
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 40)).astype(np.float32)
    y = np.eye(2, dtype=bool)[(x[:, 0] > 0).astype(int)]
    plain = basis(x, [25, 15], standardise=standardise)
    assert plain.directions is None
    turned = np.linalg.qr(random.standard_normal((40, 40)))[0]
    other = replace(plain, directions=turned, rows=plain.rows @ turned)
    found, expected = (fit(b, y, head=head, exclusive=True, strength=1.0).logits(x) for b in (plain, other))
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert (found.argmax(1) == y.argmax(1)).mean() > 0.8


def test_bases_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []
    rows = basis(np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32), [50], standardise=True)

    def make(*key: Any) -> Any:
        made.append(key)
        return rows

    search = Frozen(SimpleNamespace(), SimpleNamespace(), lambda: None)  # type: ignore[arg-type]
    monkeypatch.setattr(search, "_basis_of", make)
    monkeypatch.setattr(frozen, "BASIS_BYTES", 3 * rows.nbytes)
    for key in ("a", "b", "c", "a", "d", "a", "b"):
        search._basis(key)
    assert [key for (key,) in made] == ["a", "b", "c", "d", "b"]
    assert sum(found.nbytes for found in search._bases.values()) <= 3 * rows.nbytes


def test_directions_are_kept_few_where_a_fit_would_be_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three labels in the widest of 300 directions: few of them are enough, and rows beyond the drawn ones are turned
    like these."""
    monkeypatch.setattr(linear, "EXACT_ROWS", 100)
    monkeypatch.setattr(linear, "FEWEST_DIRECTIONS", 10)
    monkeypatch.setattr(linear, "FIT_WORK", 1.0)
    monkeypatch.setattr(linear, "BLOCK", 64)
    random = np.random.default_rng(0)
    names = np.arange(400) % 3
    x = (3 * random.standard_normal((3, 300))[names] + random.standard_normal((400, 300))).astype(np.float32)
    found = basis(x, [300], standardise=False, labels=3)
    assert found.rows.shape == (400, 10)
    assert found.directions is not None
    np.testing.assert_allclose(found.rows, ((x - found.mean) / found.scale) @ found.directions, atol=1e-6)
    head = fit(found, np.eye(3, dtype=bool)[names], head="logistic", exclusive=True, strength=1.0)
    assert (head.logits(x).argmax(1) == names).all()


def test_average_of_linear_heads_is_linear() -> None:
    random = np.random.default_rng(0)
    heads = [Head(((Linear(random.normal(size=(2, 3)), random.normal(size=2)),),)) for _ in range(3)]
    x = random.normal(size=(5, 3)).astype(np.float32)
    found = average(heads)
    assert found.linear
    np.testing.assert_allclose(found.logits(x), np.mean([head.logits(x) for head in heads], axis=0))


def test_average_with_a_head_of_layers() -> None:
    random = np.random.default_rng(0)
    plain = Head(((Linear(random.normal(size=(2, 3)), random.normal(size=2)),),))
    bent = Head(((Linear(random.normal(size=(4, 3)), np.zeros(4)), Linear(random.normal(size=(2, 4)), np.ones(2))),))
    x = random.normal(size=(5, 3)).astype(np.float32)
    found = average([bent, plain])
    assert not found.linear
    np.testing.assert_allclose(found.logits(x), (plain.logits(x) + bent.logits(x)) / 2)
    with pytest.raises(ValueError, match="not linear"):
        _ = found.weight
    spread = found.spread(np.array([0, 2, 5]), 6)
    wide = np.zeros((5, 6), np.float32)
    wide[:, [0, 2, 5]] = x
    np.testing.assert_allclose(spread.logits(wide), found.logits(x))
