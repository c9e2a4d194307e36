"""From backbones and a fitted head to the classifier that is exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenshot.automl.bundle import Input
from tenshot.automl.linear import Head, Linear
from tenshot.automl.networks import Backbone, Classifier


@dataclass(frozen=True)
class Part:
    """A backbone and the stages of it that the head sees; `spec` says how it wants its images."""

    backbone: Backbone
    taps: Sequence[int]
    spec: Input


class Joint(nn.Module):
    """[N, 3, H, W], prepared for the first part → logits [N, C]: a head on the taps of several backbones side by side.

    All see the same pixels, since a bundle has one input; what they were normalised by is changed on the way.
    """

    def __init__(self, parts: Sequence[Part], head: nn.Module) -> None:
        super().__init__()
        first = parts[0].spec
        if any((part.spec.height, part.spec.width) != (first.height, first.width) for part in parts):
            raise ValueError("backbones that are served together need one input size")
        self.parts = nn.ModuleList([_taps_of(part) for part in parts])
        changes = [_renormalised(first, part.spec) for part in parts]
        self.register_buffer("factors", torch.stack([factor for factor, _ in changes]))
        self.register_buffer("shifts", torch.stack([shift for _, shift in changes]))
        self.head = head
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        factors, shifts = self.get_buffer("factors"), self.get_buffer("shifts")
        seen = [part(x * factors[k] + shifts[k]) for k, part in enumerate(self.parts)]
        return torch.as_tensor(self.head(torch.cat(seen, dim=1)))


class Branches(nn.Module):
    """The sum of several heads on the same taps."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([branch(x) for branch in self.branches]).sum(0)


def classifier(parts: Sequence[Part], head: Head) -> Classifier | Joint:
    """The network that gives `head`'s logits of the taps of these parts, in their order."""
    if len(parts) > 1:
        return Joint(parts, module(head))
    network = _taps_of(parts[0])
    network.head = module(head)
    return network


def module(head: Head) -> nn.Module:
    """[N, D] → [N, C], float32."""
    branches = [_branch(layers) for layers in head.branches]
    return branches[0] if len(branches) == 1 else Branches(branches)


def _taps_of(part: Part) -> Classifier:
    network = Classifier(part.backbone, part.taps, torch.zeros(1, 1), torch.zeros(1))
    network.head = nn.Identity()
    return network


def _branch(layers: Sequence[Linear]) -> nn.Module:
    found: list[nn.Module] = []
    for layer in layers:
        found += [_affine(layer.weight, layer.bias), nn.ReLU()]
    return found[0] if len(layers) == 1 else nn.Sequential(*found[:-1])


def _affine(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


def _renormalised(given: Input, wanted: Input) -> tuple[Tensor, Tensor]:
    """Factor and shift, each [3, 1, 1], from pixels normalised as one says to pixels normalised as the other says."""
    given_mean, given_std, mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in (given.mean, given.std, wanted.mean, wanted.std)
    )
    return given_std / std, (given_mean - mean) / std
