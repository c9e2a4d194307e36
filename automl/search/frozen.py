"""Candidates of the first kind: a linear head on the features of a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from tenshot.automl.features import Extractor, Features, Picture
from tenshot.automl.heads import Bools, Floats
from tenshot.automl.linear import Basis, Linear, basis, fit
from tenshot.automl.search.folds import Fold

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

FIT = "stretch"
"""Nothing of a user's image is cut away: the defect may be at its edge."""
MOST_ROWS = 800
"""Views are taken until there are so many rows; beyond it they cost more than they bring: the time of a fit grows with
the third power of them, and each trial fits five times or more."""
BASIS_BYTES = 400_000_000
"""Most memory for bases that are kept; one of 1280 rows takes 50 MB."""
USUAL_VIEW_S = 0.02
"""Seconds of a view before any was computed here."""


@dataclass(frozen=True)
class Learning:
    """What there is to learn from."""

    pictures: Sequence[Picture]
    truth: Bools
    """[N, C]"""
    labels: tuple[str, ...]
    exclusive: bool
    groups: Sequence[int]

    @property
    def views(self) -> int:
        return int(np.clip(MOST_ROWS // max(1, len(self.pictures)), 1, 8))

    @property
    def strata(self) -> list[int]:
        """The label of each image, or a number for its combination of labels."""
        if self.exclusive:
            return [int(v) for v in self.truth.argmax(axis=1)]
        _, numbers = np.unique(self.truth, axis=0, return_inverse=True)
        return [int(v) for v in np.asarray(numbers).reshape(-1)]


@dataclass
class Frozen:
    workspace: Workspace
    data: Learning
    check: Callable[[], None]
    _extractors: dict[str, Extractor] = field(default_factory=dict)
    _features: dict[tuple[str, str], Features] = field(default_factory=dict)
    _bases: dict[tuple[Any, ...], Basis] = field(default_factory=dict)
    """Oldest first."""

    def extractor(self, backbone: str) -> Extractor:
        if backbone not in self._extractors:
            self._extractors[backbone] = Extractor(self.workspace, backbone, FIT)  # type: ignore[arg-type]
        return self._extractors[backbone]

    def features(self, backbone: str, policy: str) -> Features:
        """[N, V, D], from memory, disk or the network."""
        key = (backbone, policy)
        if key not in self._features:
            extractor = self.extractor(backbone)
            self._features[key] = extractor.features(self.data.pictures, policy, self.data.views, self.check)
        return self._features[key]

    def features_s(self, backbone: str, policy: str) -> float:
        """Expected seconds of computing what is not on disk yet."""
        paces = [e.seconds_per_view for e in self._extractors.values() if e.seconds_per_view is not None]
        missing = self.extractor(backbone).missing(self.data.pictures, policy, self.data.views)
        return missing * max(paces, default=USUAL_VIEW_S)

    def out_of_fold(self, params: dict[str, Any], folds: Sequence[Fold]) -> Floats:
        """[N, C] logits of each image by the head that did not see it; the image is seen as it is (view 0)."""
        x = self._columns(params)
        logits = np.zeros(self.data.truth.shape)
        for train, held in folds:
            self.check()
            logits[held] = self.fit_on(params, train).logits(x[held, 0])
        return logits

    def fit(self, params: dict[str, Any]) -> Linear:
        """The head on all images."""
        return self.fit_on(params, np.arange(len(self.data.pictures)))

    def fit_on(self, params: dict[str, Any], train: Any) -> Linear:
        """The head on the images with these indices."""
        # Small matrices: more than one BLAS thread costs thirty times what it brings (measured).
        with threadpool_limits(1, user_api="blas"):
            return self._fit_limited(params, train)

    def _fit_limited(self, params: dict[str, Any], train: Any) -> Linear:
        found = self._basis(params["backbone"], params["policy"], params["taps"], params["standardise"], tuple(train))
        views = len(found.rows) // len(train)
        y = np.repeat(self.data.truth[train], views, axis=0)
        return fit(found, y, head=params["head"], exclusive=self.data.exclusive, strength=params["strength"])

    def _basis(self, *key: Any) -> Basis:
        """Kept, since heads and strengths share them, the youngest up to BASIS_BYTES."""
        found = self._bases.pop(key, None) or self._basis_of(*key)
        self._bases[key] = found
        while len(self._bases) > 1 and sum(b.nbytes for b in self._bases.values()) > BASIS_BYTES:
            del self._bases[next(iter(self._bases))]
        return found

    def _basis_of(self, backbone: str, policy: str, taps: str, standardise: bool, train: tuple[int, ...]) -> Basis:
        extractor, used = self.extractor(backbone), tap_indices(taps)
        x = self.features(backbone, policy)[list(train)][:, :, extractor.columns(used)]
        widths = [extractor.slices[tap][1] - extractor.slices[tap][0] for tap in used]
        return basis(x.reshape(-1, x.shape[-1]), widths, standardise=standardise)

    def _columns(self, params: dict[str, Any]) -> Features:
        found = self.features(params["backbone"], params["policy"])
        return found[:, :, self.extractor(params["backbone"]).columns(tap_indices(params["taps"]))]


def tap_indices(taps: str) -> list[int]:
    """`"3+7"` → [3, 7]."""
    return sorted(int(part) for part in taps.split("+"))
