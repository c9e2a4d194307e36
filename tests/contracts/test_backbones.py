"""What automl/networks.py promises, for every row of BACKBONES."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from tenshot.automl.backbones import BACKBONES
from tenshot.automl.base import fetch
from tenshot.automl.features import FIRST_TAP
from tenshot.automl.networks import Backbone, Classifier, TapNetwork, pool, untouched
from tenshot.automl.predictor import RUNTIMES
from tenshot.automl.training import export
from tenshot.automl.training.served import served
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


def tuned(network: Classifier, start: int) -> Classifier:
    """As fine-tuning leaves it: every weight from stage `start` on is another."""
    with torch.no_grad():
        for stage in list(network.stages)[start:]:
            for weight in stage.parameters():
                weight.mul_(1.01)
    return network


@pytest.mark.parametrize(
    ("taps", "start", "expected"),
    [
        pytest.param([7], 8, [7], id="frozen: what the last stage says"),
        pytest.param([3, 4], 8, [2, 3, 4], id="frozen without the last stage"),
        pytest.param([7], 5, [2, 3, 4], id="tuned from the sixth stage on"),
        pytest.param([7], 7, [2, 3, 4, 5, 6], id="tuned last stage"),
        pytest.param([7], 1, [0], id="all but the first tuned"),
        pytest.param([7], 0, [], id="all tuned"),
    ],
)
def test_descriptors_come_from_stages_that_were_not_tuned(
    backbone: Backbone, taps: list[int], start: int, expected: list[int]
) -> None:
    network = tuned(classifier(deepcopy(backbone), taps), start)
    found = untouched(network, lambda _: backbone)
    assert [index for index, stage in enumerate(network.stages) if any(stage is one for one in found)] == expected
    assert len(found) == len(expected)


def test_descriptors_of_networks_that_answer_together(backbone: Backbone) -> None:
    """Of the one that was left as it was, wherever it stands."""
    members = [tuned(classifier(deepcopy(backbone), [7]), 3), classifier(deepcopy(backbone), [7])]
    found = untouched(torch.nn.ModuleList(members), lambda _: backbone)
    assert [stage is members[1].stages[7] for stage in found] == [True]


@pytest.mark.slow
@pytest.mark.parametrize("start", [8, 5], ids=["frozen", "tuned"])
def test_served_form_equals_torch(backbone: Backbone, tmp_path: Path, start: int) -> None:
    network = tuned(classifier(deepcopy(backbone), [7]), start)
    run, write = served(network, lambda _: backbone, backbone.spec)
    write(tmp_path)
    x = images(backbone, 3)
    with torch.inference_mode():
        logits, maps = network(x).numpy(), outputs(backbone, x)
    expected = [torch.nn.functional.normalize(maps[t].mean((2, 3))) for t in ([7] if start == 8 else [2, 3, 4])]
    rows = run(x.numpy())
    np.testing.assert_allclose(rows[:, :3], logits, atol=1e-5)
    np.testing.assert_allclose(rows[:, 3:], torch.cat(expected, 1) / len(expected) ** 0.5, atol=1e-5)
    for name, load in RUNTIMES.items():
        compiled = load(tmp_path, 1)
        np.testing.assert_allclose(compiled(x.numpy()), rows, atol=PARITY, err_msg=name)
        np.testing.assert_allclose(compiled(x[1:2].numpy()), rows[1:2], atol=PARITY, err_msg=name)


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
