"""Heads in a basis of the data are heads on the features."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tenshot.automl.heads import HEADS
from tenshot.automl.linear import basis, fit
from tenshot.automl.search import frozen
from tenshot.automl.search.frozen import Frozen


@pytest.mark.parametrize("head", list(HEADS))
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
