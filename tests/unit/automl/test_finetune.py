"""Fine-tuning on a tiny network: a head that fits already must not be thrown away by the first steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tenshot.automl.bundle import Input
from tenshot.automl.heads import Bools
from tenshot.automl.linear import basis, fit
from tenshot.automl.networks import Backbone, Classifier
from tenshot.automl.predictor import RGB, prepare
from tenshot.automl.search.space import load
from tenshot.automl.training.finetune import Curve, Schedule, Stem, step_share, tail_logits, train_tail
from tenshot.automl.views import FLIPS, Augmentation, augmenter

WIDTH = 640
SPEC = Input(16, 16, "stretch")


def backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6())
        return Backbone("tiny", [stem, nn.Sequential(nn.Conv2d(32, WIDTH, 3, 2, 1), nn.ReLU6())], SPEC)


def stem_of(found: Backbone, start: int = 1) -> Stem:
    if start == 0:
        return lambda batch: batch

    def stem(batch: Any) -> Any:
        with torch.no_grad():
            return found.stages[0](torch.from_numpy(batch)).numpy()

    return stem


def noise(images: int) -> tuple[list[RGB], Bools]:
    """Two labels that differ in how red the noise is."""
    truth = np.eye(2, dtype=bool)[np.arange(images) % 2]
    pixels = np.random.default_rng(0).integers(0, 180, (images, 16, 16, 3), np.uint8)
    pixels[truth[:, 1], :, :, 0] += 70
    return list(pixels), truth


def trained(schedule: Schedule, images: int, *, exclusive: bool = True) -> tuple[Classifier, Curve]:
    found, (pixels, truth) = backbone(), noise(images)
    inputs = torch.from_numpy(np.stack([prepare(image, SPEC) for image in pixels]))
    with torch.no_grad():
        features = found.stages[1](found.stages[0](inputs)).mean((2, 3)).numpy()
    head = fit(basis(features, [WIDTH], standardise=True), truth, head="logistic", exclusive=exclusive, strength=1.0)
    network = Classifier(found, [1], torch.from_numpy(head.weight).float(), torch.from_numpy(head.bias).float())
    curve = train_tail(
        network, stem_of(found, schedule.start), pixels, truth, spec=SPEC, schedule=schedule, exclusive=exclusive,
        seed=0, check=lambda: None,
    )  # fmt: skip
    return network, curve


@pytest.mark.parametrize("images", [8, 40])
@pytest.mark.parametrize("lr", load("classification")["finetune"].choices["lr"])
def test_no_epoch_undoes_the_fitted_head(lr: float, images: int) -> None:
    """At the ends of what the search may choose."""
    _, curve = trained(Schedule(start=1, size=16, steps=40, lr=lr, amount=0.1), images)
    assert max(curve.losses) < 1.5 * curve.losses[0]
    assert curve.losses[-1] < 0.95 * curve.losses[0]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="plain"),
        pytest.param({"flip": "both", "colour": True}, id="flips and colours"),
        pytest.param({"mixup": 0.2}, id="mixup"),
        pytest.param({"ema": True}, id="average of weights"),
        pytest.param({"decay": 0.5}, id="smaller steps further down"),
        pytest.param({"start": 0}, id="nothing frozen"),
    ],
)
@pytest.mark.parametrize("exclusive", [True, False], ids=["one label", "several"])
def test_same_seed_same_weights(changes: dict[str, Any], exclusive: bool) -> None:
    schedule = Schedule(**{"start": 1, "size": 16, "steps": 12, "lr": 1e-3, **changes})
    (one, curve), (two, _) = (trained(schedule, 20, exclusive=exclusive) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(np.isfinite(curve.losses))
    untouched = backbone()
    same = torch.equal(one.stages[0][0].weight, untouched.stages[0][0].weight)
    assert same is (schedule.start == 1)
    assert not torch.equal(one.stages[1][0].weight, untouched.stages[1][0].weight)


def test_the_average_moves_less() -> None:
    """The running average of the weights lags behind the weights themselves."""
    first, moved = backbone().stages[1][0].weight, []
    for ema in (False, True):
        network, _ = trained(Schedule(start=1, size=16, steps=12, lr=1e-3, ema=ema), 20)
        moved.append(float((network.stages[1][0].weight - first).detach().norm()))
    assert 0 < moved[1] < moved[0]


@pytest.mark.parametrize(
    ("steps", "images", "expected"),
    [
        pytest.param(40, 10, 40, id="one batch an epoch"),
        pytest.param(40, 20, 40, id="two"),
        pytest.param(40, 33, 42, id="whole epochs"),
        pytest.param(40, 1000, 5 * 63, id="each image five times"),
    ],
)
def test_steps(steps: int, images: int, expected: int) -> None:
    assert Schedule(start=1, size=16, steps=steps, lr=1e-3).steps_for(images) == expected


@pytest.mark.parametrize("steps", [1, 2, 12, 100])
def test_step_size_rises_and_falls(steps: int) -> None:
    shares = [step_share(step, steps) for step in range(steps)]
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert 0 < shares[0] <= 0.5
    assert 0 <= step_share(steps, steps) <= 1


def test_logits_are_those_of_the_whole_network() -> None:
    network, _ = trained(Schedule(start=1, size=16, steps=5, lr=1e-3), 6)
    inputs = np.stack([prepare(image, SPEC) for image in noise(6)[0]])
    with torch.no_grad():
        whole = network(torch.from_numpy(inputs)).double().numpy()
    assert np.allclose(tail_logits(network, stem_of(backbone()), inputs, 1), whole, atol=1e-5)


@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize("colour", [True, False])
def test_augmentation_repeats_itself_and_keeps_the_form(flip: str, colour: bool) -> None:
    image = noise(1)[0][0]
    how = Augmentation(flip, colour)
    one, two = ([change(image) for _ in range(4)] for change in (augmenter(how, 3), augmenter(how, 3)))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], one[1])
    assert all(view.shape == image.shape and view.dtype == np.uint8 for view in one)
