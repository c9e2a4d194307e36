"""Candidates of the first kind: a head on the features of frozen backbones.

A candidate is a row of the space `frozen` (configs/search_spaces), or a bag: `{"members": [row, …]}`, the mean of the
logits of several rows. `taps: "7|3+4+5+6+7"` is a bag too, of two rows that differ in nothing else. A bag of linear
heads on one backbone is one linear head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tenshot.automl.features import Extractor, Features, Picture
from tenshot.automl.heads import Bools, Floats
from tenshot.automl.linear import Basis, Head, average, basis, fit
from tenshot.automl.search import sampling
from tenshot.automl.search.folds import Fold

if TYPE_CHECKING:
    from tenshot.automl.assembly import Joint
    from tenshot.automl.networks import Classifier
    from tenshot.projects.workspace import Workspace

FIT = "stretch"
"""Nothing of a user's image is cut away: the defect may be at its edge."""
MOST_ROWS = 800
"""Views are taken until there are so many rows; beyond it they cost more than they bring: the time of a fit grows with
the third power of them, and each trial fits five times or more."""
MOST_SEARCHED = 1000
"""Images that a search looks at: enough to tell candidates apart, and a trial stays cheap."""
LEAST_OF_A_LABEL = 2
"""Images that are looked at however little time there is: one to learn from and one to hold out."""
LEAST_SEARCHED = 60
"""Images that it looks at whatever the budget: one view of each takes a second or two."""
BASIS_BYTES = 400_000_000
"""Most memory for bases that are kept; one of 1280 rows takes 50 MB."""
REST_SHARE = 0.8
"""Of the seconds for images that were put aside, for their features; fitting the head takes its time, too."""
USUAL_VIEW_S = 0.02
"""Seconds of a view before any was computed here."""
MOST_VIEWS = 8
PROBED = 3
"""Images whose features tell the pace."""


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
        return int(np.clip(MOST_ROWS // max(1, len(self.pictures)), 1, MOST_VIEWS))

    @property
    def strata(self) -> list[int]:
        """The label of each image, or a number for its combination of labels."""
        if self.exclusive:
            return [int(v) for v in self.truth.argmax(axis=1)]
        _, numbers = np.unique(self.truth, axis=0, return_inverse=True)
        return [int(v) for v in np.asarray(numbers).reshape(-1)]

    def joined(self, other: Learning) -> Learning:
        truth, groups = np.concatenate([self.truth, other.truth]), [*self.groups, *other.groups]
        return Learning([*self.pictures, *other.pictures], truth, self.labels, self.exclusive, groups)

    def part(self, indices: Sequence[int] | NDArray[np.int64]) -> Learning:
        """The images with these indices, in their order."""
        chosen = [int(i) for i in indices]
        pictures, groups = [self.pictures[i] for i in chosen], [self.groups[i] for i in chosen]
        return Learning(pictures, self.truth[chosen], self.labels, self.exclusive, groups)


@dataclass
class Frozen:
    workspace: Workspace
    data: Learning
    """What the search looks at; see `narrow`."""
    check: Callable[[], None]
    rest: Learning | None = None
    """Images that only the final head may see, the most useful first."""
    most_views: int = MOST_VIEWS
    _extractors: dict[tuple[str, tuple[int, int] | None], Extractor] = field(default_factory=dict)
    _features: dict[tuple[str, str], Features] = field(default_factory=dict)
    _bases: dict[tuple[Any, ...], Basis] = field(default_factory=dict)
    """Oldest first."""

    # Backbones ------------------------------------------------------------------------------------------------------

    def extractor(self, backbone: str) -> Extractor:
        """Of `a+b` the first, whose input is the network's."""
        return self.extractors(backbone)[0]

    def extractors(self, backbone: str) -> list[Extractor]:
        """Each of `a+b`; the others see the images at the size of the first."""
        first, *others = backbone.split("+")
        leader = self._extractor(first, None)
        return [leader, *(self._extractor(name, (leader.spec.height, leader.spec.width)) for name in others)]

    def _extractor(self, name: str, size: tuple[int, int] | None) -> Extractor:
        if (name, size) not in self._extractors:
            self._extractors[name, size] = Extractor(self.workspace, name, FIT, size)  # type: ignore[arg-type]
        return self._extractors[name, size]

    @property
    def views(self) -> int:
        """Of each image."""
        return min(self.most_views, self.data.views)

    # Features -------------------------------------------------------------------------------------------------------

    def features(self, backbone: str, policy: str) -> Features:
        """[N, V, D], from memory, disk or the network: of `a+b` all taps of the first, the last tap of the others."""
        key = (backbone, self._policy(policy))
        if key not in self._features:
            self._features[key] = self._features_of(self.data, backbone, key[1])
        return self._features[key]

    def has(self, backbone: str, policy: str) -> bool:
        """Whether these features are in memory, so that a candidate on them costs nothing but its head."""
        return (backbone, self._policy(policy)) in self._features

    def features_s(self, backbone: str, policy: str) -> float:
        """Expected seconds of computing what is not on disk yet."""
        used, pictures = self.extractors(backbone), self.data.pictures
        missing = sum(one.missing(pictures, self._policy(policy), self.views) for one in used)
        return missing * self._pace()

    def _pace(self) -> float:
        """Seconds of a view."""
        paces = [e.seconds_per_view for e in self._extractors.values() if e.seconds_per_view is not None]
        return max(paces, default=USUAL_VIEW_S)

    def _policy(self, policy: str) -> str:
        """With one view each, which is the image itself, all policies are the same."""
        return policy if self.views > 1 else "plain"

    def _features_of(self, data: Learning, backbone: str, policy: str) -> Features:
        leader, *others = self.extractors(backbone)
        found = [leader.features(data.pictures, policy, self.views, self.check)]
        for one in others:
            rows = one.features(data.pictures, policy, self.views, self.check)
            found.append(rows[:, :, one.columns([one.depth - 1])])
        return np.concatenate(found, axis=2) if others else found[0]

    # Many images ----------------------------------------------------------------------------------------------------

    def narrow(self, backbone: str, seconds: float, seed: int) -> str | None:
        """Keep to what features these seconds allow of this backbone: fewer views first, then fewer images, and never
        more than `MOST_SEARCHED` of them. The others go to `rest`. Returns a warning if images were put aside."""
        whole = self.data
        order = sampling.order(whole.truth, seed)
        leader, *others = self.extractors(backbone)
        leader.features([whole.pictures[int(i)] for i in order[:PROBED]], "plain", 1, self.check)
        total, labels = len(whole.pictures), whole.truth.shape[1]
        wanted = min(total, max(MOST_SEARCHED, sampling.fewest(whole.truth)))
        affordable = int(seconds / (self._pace() * (1 + len(others))))
        images, self.most_views = sampling.affordable(wanted, affordable, self.views)
        images = min(total, max(images, LEAST_OF_A_LABEL * labels, LEAST_SEARCHED))
        return self.restrict(images, seed)

    def restrict(self, images: int, seed: int) -> str | None:
        """Keep to the first so many images in the order of `seed`; the others go to `rest`. Returns a warning if there
        are others."""
        whole, order = self.data, sampling.order(self.data.truth, seed)
        total = len(whole.pictures)
        if images >= total:
            return None
        self.data, self.rest = whole.part(np.sort(order[:images])), whole.part(order[images:])
        return (
            f"the search and its figures rest on {images} of {total} images; "
            "the final head learns from as many of the others as the budget allows"
        )

    def extend(self, params: Mapping[str, Any], seconds: float) -> int:
        """Give the final head as many images of `rest` as these seconds allow; returns how many.

        What was searched and scored was without them: this is the last step before `fit` and `network`."""
        if self.rest is None:
            return 0
        backbone = backbone_of(params)
        per_image = self._pace() * len(self.extractors(backbone)) * self.views
        more = self.rest.part(range(min(len(self.rest.pictures), max(0, int(REST_SHARE * seconds / per_image)))))
        if not more.pictures:
            return 0
        known = {self._policy(row["policy"]) for row in members(params)}
        self._features = {
            (name, policy): np.concatenate([self.features(name, policy), self._features_of(more, name, policy)])
            for policy in known
            for name in {str(row["backbone"]) for row in members(params)} | {backbone}
        }
        self.data, self.rest = self.data.joined(more), None
        self._bases.clear()
        return len(more.pictures)

    # Heads ----------------------------------------------------------------------------------------------------------

    def out_of_fold(self, params: dict[str, Any], folds: Sequence[Fold]) -> Floats:
        """[N, C] logits of each image by the head that did not see it; the image is seen as it is (view 0)."""
        x = self.features(backbone_of(params), members(params)[0]["policy"])[:, 0][:, self._columns(params)]
        logits = np.zeros(self.data.truth.shape)
        for train, held in folds:
            self.check()
            logits[held] = self.fit_on(params, train).logits(x[held])
        return logits

    def fit(self, params: dict[str, Any]) -> Head:
        """The head on all images."""
        return self.fit_on(params, np.arange(len(self.data.pictures)))

    def fit_on(self, params: dict[str, Any], train: Any) -> Head:
        """The head on the images with these indices; it wants the taps that `network` gives, in their order."""
        # Small matrices: more than one BLAS thread costs thirty times what it brings (measured).
        with threadpool_limits(1, user_api="blas"):
            rows = members(params)
            if len(rows) == 1:
                return self._fit_row(rows[0], train)
            used = self._columns(params)
            heads = [(self._fit_row(row, train), self._columns(row)) for row in rows]
            return average([head.spread(np.searchsorted(used, own), len(used)) for head, own in heads])

    def network(self, params: dict[str, Any]) -> Classifier | Joint:
        """The classifier with the head on all images; its input is `extractor(backbone_of(params)).spec`."""
        return self.network_on(params, np.arange(len(self.data.pictures)))

    def network_on(self, params: dict[str, Any], train: Any) -> Classifier | Joint:
        from tenshot.automl.assembly import Part, classifier

        leader, *others = self.extractors(backbone_of(params))
        parts = [Part(leader.backbone(), _taps_of(params), leader.spec)]
        parts += [Part(one.backbone(), [one.depth - 1], one.spec) for one in others]
        return classifier(parts, self.fit_on(params, train))

    def _fit_row(self, params: Mapping[str, Any], train: Any) -> Head:
        found = self._basis(
            params["backbone"], self._policy(params["policy"]), params["taps"], params["standardise"],
            params.get("project", "none"), tuple(train),
        )  # fmt: skip
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

    def _basis_of(
        self, backbone: str, policy: str, taps: str, standardise: bool, project: Any, train: tuple[int, ...]
    ) -> Basis:
        leader, *others = self.extractors(backbone)
        row = {"backbone": backbone, "taps": taps}
        x = self.features(backbone, policy)[list(train)][:, :, self._columns(row)]
        widths = [high - low for low, high in (leader.slices[tap] for tap in tap_indices(taps))]
        widths += [high - low for low, high in (one.slices[one.depth - 1] for one in others)]
        return basis(
            x.reshape(-1, x.shape[-1]), widths,
            standardise=standardise, projection=project, labels=len(self.data.labels),
        )  # fmt: skip

    def _columns(self, params: Mapping[str, Any]) -> NDArray[np.int64]:
        """Of the features of its backbones, those that its head sees; rising."""
        leader, *others = self.extractors(backbone_of(params))
        start = max(high for _, high in leader.slices.values())
        used = [leader.columns(_taps_of(params))]
        for one in others:
            low, high = one.slices[one.depth - 1]
            used.append(np.arange(start, start + high - low))
            start += high - low
        return np.concatenate(used)


def members(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows whose logits are averaged; a plain row is its only member."""
    if "members" in params:
        return [row for member in params["members"] for row in members(member)]
    return [{**params, "taps": taps} for taps in str(params["taps"]).split("|")]


def backbone_of(params: Mapping[str, Any]) -> str:
    """The backbones of the network of these parameters. Members may use fewer of them than others, but the same first
    ones, since an image comes in once. Raises ValueError for others."""
    if "members" not in params:
        return str(params["backbone"])
    names = {str(row["backbone"]) for row in members(params)}
    longest = max(sorted(names), key=lambda name: name.count("+"))
    odd = sorted(name for name in names if not f"{longest}+".startswith(f"{name}+"))
    if odd:
        raise ValueError(f"{odd[0]} and {longest} cannot be in one bag: their first backbones differ")
    return longest


def tap_indices(taps: str) -> list[int]:
    """`"3+7"` → [3, 7]; of a bag `"7|3+7"` all of them."""
    return sorted({int(part) for part in taps.replace("|", "+").split("+")})


def _taps_of(params: Mapping[str, Any]) -> list[int]:
    return sorted({tap for row in members(params) for tap in tap_indices(row["taps"])})
