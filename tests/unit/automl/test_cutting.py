"""Any network becomes eight stages that together compute what it computes."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from torch import fx, nn

from tenshot.automl import backbones
from tenshot.automl.cutting import STAGES, Cut, chosen, stages
from tenshot.automl.features import FIRST_TAP
from tenshot.automl.networks import Backbone, Classifier, TapNetwork, pool
from tenshot.automl.search.rebasing import rebased, works_at
from tenshot.automl.search.space import load
from tenshot.automl.training import export
from tenshot.projects.errors import WeightsError

KINDS = {
    "timm:test_resnet.r160_in1k": "residual blocks",
    "timm:test_efficientnet.r160_in1k": "inverted residuals",
    "timm:test_convnext.r160_in1k": "channels last",
    "timm:test_vit.r160_in1k": "tokens with a class token",
    "timm:test_vit2.r160_in1k": "tokens without one",
    "timm:test_nfnet.r160_in1k": "no batch norm",
    "torchvision:squeezenet1_1.IMAGENET1K_V1": "no linear classifier, forks",
    "torchvision:mobilenet_v3_small.IMAGENET1K_V1": "activations in place",
}
TOKENS = [name for name in KINDS if "vit" in name]


def whole(name: str) -> nn.Module:
    """The library's own network with random weights and running statistics."""
    import timm
    from torchvision import models

    library, _, model = name.partition(":")
    torch.manual_seed(1)
    if library == "timm":
        network: nn.Module = timm.create_model(model, pretrained=False)
    else:
        network = models.get_model(model.partition(".")[0], weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.eval()


@cache
def loaded(name: str, folder: Path) -> Backbone:
    path = folder / f"{name.replace(':', '-')}.pth"
    torch.save(whole(name).state_dict(), path)
    return backbones.load(name, path)


@pytest.fixture(scope="module", params=list(KINDS), ids=list(KINDS.values()))
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return loaded(request.param, tmp_path_factory.getbasetemp())


def images(backbone: Backbone, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, backbone.spec.height, backbone.spec.width, generator=generator)


def maps_of(backbone: Backbone, x: torch.Tensor) -> list[torch.Tensor]:
    found = []
    with torch.inference_mode():
        for stage in backbone.stages:
            x = stage(x)
            found.append(x)
    return found


def features(name: str, x: torch.Tensor) -> torch.Tensor:
    """What the library's own network hands to its classifier."""
    network: Any = whole(name)
    with torch.inference_mode():
        if name.startswith("timm:"):
            return network.forward_head(network.forward_features(x), pre_logits=True)
        if "squeezenet" in name:
            return network(x)
        network.classifier[-1] = nn.Identity()
        return network(x)


def test_stages_compute_the_network(backbone: Backbone) -> None:
    assert backbone.depth == STAGES
    assert not backbone.training
    x = images(backbone, 3)
    before = x.clone()
    maps = maps_of(backbone, x)
    torch.testing.assert_close(maps[-1].flatten(1), features(backbone.name, x), rtol=1e-4, atol=1e-5)
    assert all(m.ndim == 4 and m.shape[0] == 3 and torch.isfinite(m).all() for m in maps)
    assert torch.equal(x, before)


def test_stages_leave_their_input_alone(backbone: Backbone) -> None:
    """Maps are kept and shown to the next stage again and again."""
    x = images(backbone, 1)
    with torch.inference_mode():
        for stage in backbone.stages:
            before = x.clone()
            after = stage(x)
            assert torch.equal(x, before)
            torch.testing.assert_close(stage(x), after)
            x = after


def test_maps_get_smaller(backbone: Backbone) -> None:
    sizes = [m.shape[2] * m.shape[3] for m in maps_of(backbone, images(backbone, 1))][1:]
    assert all(later <= earlier * 1.1 for earlier, later in pairwise(sizes))
    assert sizes[-1] == 1


def test_every_late_stage_has_something_to_train(backbone: Backbone) -> None:
    weights = [sum(p.numel() for p in stage.parameters()) for stage in backbone.stages]
    assert min(weights[-1], weights[-2], weights[-3]) > 0
    assert max(weights) < 0.95 * sum(weights)


def test_fine_tuning_reaches_the_weights(backbone: Backbone) -> None:
    width = maps_of(backbone, images(backbone, 1))[-1].shape[1]
    network = Classifier(backbone, [STAGES - 1], torch.randn(2, width) / width, torch.zeros(2))
    maps = maps_of(backbone, images(backbone, 2))[STAGES - 3]
    network(maps.clone(), start=STAGES - 2).sum().backward()
    trained = list(network.stages[STAGES - 2].parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


def test_exported_taps_equal_torch(backbone: Backbone, tmp_path: Path) -> None:
    """Also for other numbers of images than were traced."""
    network = TapNetwork(backbone, FIRST_TAP)
    export.to_openvino(network, backbone.spec, tmp_path / "taps.xml")
    compiled = openvino.Core().compile_model(tmp_path / "taps.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        x = images(backbone, count)
        with torch.inference_mode():
            expected = network(x).numpy()
        np.testing.assert_allclose(compiled(x.numpy())[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_taps_are_pooled_maps(backbone: Backbone) -> None:
    maps = maps_of(backbone, images(backbone, 2))
    expected = [pool(m, last=i == STAGES - 1) for i, m in enumerate(maps) if i >= FIRST_TAP]
    with torch.inference_mode():
        torch.testing.assert_close(TapNetwork(backbone, FIRST_TAP)(images(backbone, 2)), torch.cat(expected, dim=1))


def test_weights_of_another_network(backbone: Backbone, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pth"
    torch.save({"a": torch.zeros(2)}, wrong)
    with pytest.raises(WeightsError, match=r"wrong\.pth"):
        backbones.load(backbone.name, wrong)
    wrong.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"wrong\.pth"):
        backbones.load(backbone.name, wrong)


def test_few_places_to_cut() -> None:
    """The first stages pass the image on."""
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = stages(network, 32)
    assert len(found) == STAGES
    x = torch.randn(2, 3, 32, 32)
    y = x
    for stage in found:
        y = stage(y)
    torch.testing.assert_close(y.flatten(1), network(x))
    assert isinstance(found[0], nn.Identity)


class TestSpaces:
    def test_the_base_takes_the_place_of_the_products_own(self, backbone: Backbone) -> None:
        for kind, space in rebased(load("classification"), backbone).items():
            for recipe in (space.default, *space.known):
                for key, value in recipe.items():
                    if key in ("backbone", "size"):
                        assert value in space.choices[key], kind
            if "backbone" in space.choices:
                assert space.choices["backbone"] == [backbone.name]
            for size in space.choices.get("size", []):
                assert works_at(backbone, size)

    def test_tokens_keep_their_size(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        backbone = loaded(TOKENS[0], tmp_path_factory.getbasetemp())
        assert works_at(backbone, 160)
        assert not works_at(backbone, 224)
        for space in rebased(load("multilabel"), backbone).values():
            assert space.choices.get("size", [160]) == [160]


def test_cuts_stay_in_order() -> None:
    """Windows of attention in between look like another resolution."""
    graph = fx.Graph()
    levels = [1, 2, 3, 4, 2, 3, 5, 4, 5, 3, 5, 5]
    cuts = [Cut(graph.placeholder(f"x{i}"), "maps", level, 100) for i, level in enumerate(levels)]
    found = chosen(cuts, 7)
    assert len(found) == 7
    assert [cuts.index(cut) for cut in found] == sorted(cuts.index(cut) for cut in found)
