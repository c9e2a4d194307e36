"""Fine-tuning on a tiny network: a head that fits already must not be thrown away by the first steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tenshot.automl.bundle import Input
from tenshot.automl.features import Picture
from tenshot.automl.linear import basis, fit
from tenshot.automl.networks import Backbone, Classifier
from tenshot.automl.search.space import load
from tenshot.automl.training.finetune import Schedule, stem_maps, step_share, train_tail

WIDTH = 640
SPEC = Input(16, 16, "stretch")


def backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stem = nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU6())
        return Backbone("tiny", [stem, nn.Sequential(nn.Conv2d(32, WIDTH, 3, 2, 1), nn.ReLU6())], SPEC)


def losses(lr: float, epochs: int, images: int) -> list[float]:
    """Mean loss of each epoch for two labels that differ in how red the noise is, after the head was fitted."""
    found = backbone()
    truth = np.eye(2, dtype=bool)[np.arange(images) % 2]
    noise = torch.from_numpy(np.random.default_rng(0).random((images, 3, 16, 16), np.float32))
    noise[truth[:, 1], 0] += 0.3
    with torch.no_grad():
        maps = found.stages[0](noise)
        features = found.stages[1](maps).mean((2, 3)).numpy()
    head = fit(basis(features, [WIDTH], standardise=True), truth, head="logistic", exclusive=True, strength=1.0)
    weight, bias = torch.from_numpy(head.weight).float(), torch.from_numpy(head.bias).float()
    network = Classifier(found, [1], weight, bias)
    schedule = Schedule(epochs, lr)
    curve = train_tail(
        network, maps[:, None], truth, start=1, schedule=schedule, exclusive=True, seed=0, check=lambda: None
    )
    return curve.losses


@pytest.mark.parametrize("images", [8, 40])
@pytest.mark.parametrize("epochs", load("classification")["finetune"].choices["epochs"])
@pytest.mark.parametrize("lr", load("classification")["finetune"].choices["lr"])
def test_no_epoch_undoes_the_fitted_head(lr: float, epochs: int, images: int) -> None:
    """At the ends of what the search may choose. With a tenfold step for the head and no rise, 0.37 became 2.9."""
    found = losses(lr, epochs, images)
    assert max(found) < 1.5 * found[0]
    assert found[-1] < 0.95 * found[0]


@pytest.mark.parametrize("steps", [1, 2, 12, 100])
def test_step_size_rises_and_falls(steps: int) -> None:
    shares = [step_share(step, steps) for step in range(steps)]
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert 0 < shares[0] <= 0.5
    assert 0 <= step_share(steps, steps) <= 1


def test_maps_are_what_the_stage_sees_and_can_be_trained_on() -> None:
    pictures = [
        Picture(str(k), lambda k=k: np.full((20, 20, 3), 60 * k, np.uint8))  # type: ignore[misc]
        for k in range(3)
    ]
    maps = stem_maps(backbone(), 1, pictures, SPEC, "hflip", 2, lambda: None)
    assert maps.shape == (3, 2, 32, 8, 8)
    assert not maps.is_inference()
    with torch.no_grad():
        expected = backbone().stages[0](torch.full((1, 3, 16, 16), 120 / 255))
    torch.testing.assert_close(maps[2, 0], expected[0])
