"""What automl/networks.py promises, for every row of BACKBONES."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from tenshot.automl.backbones import BACKBONES
from tenshot.automl.base import fetch
from tenshot.automl.features import FIRST_TAP
from tenshot.automl.networks import Backbone, Classifier, TapNetwork, pool
from tenshot.automl.training import export
from tenshot.projects.errors import WeightsError
from tenshot.projects.workspace import Workspace

PARITY = 1e-3


@pytest.fixture(scope="module", params=list(BACKBONES))
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    workspace = Workspace(tmp_path_factory.mktemp("home"))
    return BACKBONES.get(request.param)(fetch.ensure(workspace, request.param))


def images(backbone: Backbone, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, 3, backbone.spec.height, backbone.spec.width, generator=generator)


def outputs(backbone: Backbone, x: torch.Tensor) -> list[torch.Tensor]:
    found = []
    with torch.inference_mode():
        for stage in backbone.stages:
            x = stage(x)
            found.append(x)
    return found


def classifier(backbone: Backbone, taps: list[int]) -> Classifier:
    with torch.inference_mode():
        maps = outputs(backbone, images(backbone, 1))
    width = sum(pool(maps[t], last=t == backbone.depth - 1).shape[1] for t in taps)
    generator = torch.Generator().manual_seed(0)
    return Classifier(backbone, taps, torch.randn(3, width, generator=generator) / width**0.5, torch.arange(3.0))


def test_stages(backbone: Backbone) -> None:
    """Maps shrink and never grow; the last stage is what the network was pretrained for."""
    assert backbone.name in BACKBONES
    assert not backbone.training
    assert backbone.depth == 8
    maps = outputs(backbone, images(backbone, 2))
    sides = [m.shape[2] for m in maps]
    assert all(m.ndim == 4 and m.shape[0] == 2 and m.shape[2] == m.shape[3] for m in maps)
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] == -(-backbone.spec.height // 32)
    assert maps[-1].shape[1] == 1280
    assert all(torch.isfinite(m).all() for m in maps)


def test_pretrained(backbone: Backbone) -> None:
    """Real weights tell a stripe pattern from noise by more than two kinds of noise."""
    noise = images(backbone, 2)
    stripes = torch.zeros(1, 3, backbone.spec.height, backbone.spec.width)
    stripes[..., ::8] = 2.0
    with torch.inference_mode():
        rows = TapNetwork(backbone, backbone.depth - 1)(torch.cat([noise, stripes]))
    between = (rows[0] - rows[1]).norm()
    assert (rows[0] - rows[2]).norm() > 2 * between


@pytest.mark.parametrize("taps", [[7], [3, 5, 7], [2, 3, 4], [4]], ids=str)
def test_classifier_sees_the_taps(backbone: Backbone, taps: list[int]) -> None:
    x = images(backbone, 2)
    maps = outputs(backbone, x)
    expected = torch.cat([pool(maps[t], last=t == backbone.depth - 1) for t in taps], dim=1)
    network = classifier(backbone, taps)
    with torch.inference_mode():
        torch.testing.assert_close(network(x), network.head(expected))
        # from a stage in the middle on, as fine-tuning runs it
        start = taps[0]
        torch.testing.assert_close(network(maps[start - 1], start=start), network.head(expected))


def test_tap_network_is_all_taps_side_by_side(backbone: Backbone) -> None:
    x = images(backbone, 2)
    maps = outputs(backbone, x)
    with torch.inference_mode():
        rows = TapNetwork(backbone, FIRST_TAP)(x)
    expected = [pool(m, last=i == backbone.depth - 1) for i, m in enumerate(maps) if i >= FIRST_TAP]
    torch.testing.assert_close(rows, torch.cat(expected, dim=1))


@pytest.mark.slow
def test_export_equals_torch(backbone: Backbone, tmp_path: Path) -> None:
    network = classifier(backbone, [3, 5, 7])
    before = {k: v.clone() for k, v in network.state_dict().items()}
    onnx, xml = tmp_path / "model.onnx", tmp_path / "model.xml"
    export.to_onnx(network, backbone.spec, onnx)
    export.onnx_to_openvino(onnx, xml)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for count in (1, 3):
        x = images(backbone, count)
        with torch.inference_mode():
            expected = network(x).numpy()
        assert expected.shape == (count, 3)
        assert np.abs(session.run(None, {"images": x.numpy()})[0] - expected).max() < PARITY
        assert np.abs(compiled(x.numpy())[0] - expected).max() < PARITY
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.bin", "model.onnx", "model.xml"]


def test_weights_of_another_network(backbone: Backbone, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pth"
    torch.save({"a": torch.zeros(2)}, wrong)
    with pytest.raises(WeightsError, match=r"wrong\.pth does not fit"):
        BACKBONES.get(backbone.name)(wrong)


def test_damaged_weights(backbone: Backbone, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pth"
    wrong.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match=r"wrong\.pth"):
        BACKBONES.get(backbone.name)(wrong)


def test_pool_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]]])
    torch.testing.assert_close(pool(maps, last=True), torch.tensor([[4.0, 2.0]]))
    torch.testing.assert_close(pool(maps, last=False), torch.tensor([[4.0, 2.0, 7.0, 2.0, 5.0**0.5, 1e-3]]))
