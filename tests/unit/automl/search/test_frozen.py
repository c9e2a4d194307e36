"""Heads on frozen features: bags, several backbones, many images, and the network that comes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from tenshot.automl.features import Picture
from tenshot.automl.predictor import prepare
from tenshot.automl.search import frozen, sampling
from tenshot.automl.search.folds import folds
from tenshot.automl.search.frozen import Frozen, Learning, backbone_of, members
from tenshot.projects.workspace import Workspace

Draw = Callable[..., np.ndarray]
ROW = {
    "backbone": "mobilenet_v2", "taps": "7", "policy": "hflip", "head": "ridge", "strength": 1.0,
    "standardise": False, "project": "none",
}  # fmt: skip
BOTH = "mobilenet_v2+efficientnet_lite2"


def learning(draw: Draw, count: int = 8) -> Learning:
    names = ["red", "blue"] * (count // 2)
    images = [draw(700 + k, name) for k, name in enumerate(names)]
    pictures = [Picture(f"frozen-{k}", lambda image=image: image) for k, image in enumerate(images)]
    truth = np.array([[name == label for label in ("blue", "red")] for name in names])
    return Learning(pictures, truth, ("blue", "red"), True, list(range(count)))


@pytest.fixture
def search(shared: Workspace, draw: Draw) -> Frozen:
    return Frozen(shared, learning(draw), lambda: None, most_views=2)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(ROW, id="one"),
        pytest.param({**ROW, "head": "mlp"}, id="layers"),
        pytest.param({**ROW, "project": "whiten", "taps": "6+7"}, id="whitened"),
        pytest.param({**ROW, "taps": "7|5+7"}, id="bag over taps"),
        pytest.param({**ROW, "backbone": BOTH}, id="two backbones"),
        pytest.param(
            {"members": [{**ROW, "taps": "5"}, {**ROW, "head": "mlp"}, {**ROW, "backbone": BOTH}]}, id="bag of unlike"
        ),
    ],
)
def test_network_gives_the_logits_of_the_head(search: Frozen, params: dict[str, Any]) -> None:
    spec = search.extractor(backbone_of(params)).spec
    batch = np.stack([prepare(picture.pixels(), spec) for picture in search.data.pictures])
    with torch.inference_mode():
        found = search.network(params)(torch.from_numpy(batch)).numpy()
    everything = np.arange(len(batch))
    # Every image held out of nothing: what out_of_fold looks at, scored by the head on all images.
    expected = search.out_of_fold(params, [(everything, everything)])
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    assert (found.argmax(1) == search.data.truth.argmax(1)).all()


def test_a_bag_is_the_mean_of_its_members(search: Frozen) -> None:
    own = folds(search.data.strata, search.data.groups, count=2, seed=0)
    rows = [{**ROW, "taps": "5+7"}, {**ROW, "head": "logistic"}]
    apart = [search.out_of_fold(row, own) for row in rows]
    np.testing.assert_allclose(search.out_of_fold({"members": rows}, own), np.mean(apart, axis=0), atol=1e-5)
    assert search.fit({"members": rows}).linear, "linear heads are one linear head together"


def test_taps_apart_are_a_bag() -> None:
    assert [row["taps"] for row in members({**ROW, "taps": "7|3+7"})] == ["7", "3+7"]
    assert backbone_of({"members": [ROW, {**ROW, "backbone": BOTH}]}) == BOTH


def test_members_must_share_their_first_backbone() -> None:
    with pytest.raises(ValueError, match="first backbones differ"):
        backbone_of({"members": [ROW, {**ROW, "backbone": "efficientnet_lite2"}]})


def test_many_images_are_narrowed_and_come_back_for_the_final_head(
    search: Frozen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frozen, "MOST_SEARCHED", 6)
    monkeypatch.setattr(frozen, "LEAST_SEARCHED", 0)
    monkeypatch.setattr(frozen, "LEAST_SEARCHED", 6)
    monkeypatch.setattr(sampling, "FIRST", 2)
    warning = search.narrow("mobilenet_v2", 1000.0, 0)
    assert warning is not None
    assert "6 of 8" in warning
    assert len(search.data.pictures) == 6
    assert search.data.truth.any(axis=0).all()
    search.features("mobilenet_v2", "hflip")
    assert search.extend(ROW, 1000.0) == 2
    assert len(search.data.pictures) == 8
    assert search.features("mobilenet_v2", "hflip").shape[0] == 8
    ids = {picture.id for picture in search.data.pictures}
    assert ids == {f"frozen-{k}" for k in range(8)}
    assert search.fit(ROW).weight.shape[0] == 2


def test_little_time_costs_views_first(search: Frozen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_pace", lambda: 1.0)
    assert search.narrow("mobilenet_v2", 9.0, 0) is None
    assert search.views == 1
    assert search.features("mobilenet_v2", "hflip").shape[1] == 1
    assert search.has("mobilenet_v2", "crop"), "one view is the image itself under every policy"
