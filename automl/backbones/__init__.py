"""Backbones: one file each. A row names a function `load(weights: Path) -> Backbone`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects.registry import Registry

if TYPE_CHECKING:
    from tenshot.automl.networks import Backbone

BACKBONES: Registry[Callable[[Path], Backbone]] = Registry(
    "backbone",
    {
        "efficientnet_lite2": "tenshot.automl.backbones.efficientnet_lite2:load",
        "mobilenet_v2": "tenshot.automl.backbones.mobilenet_v2:load",
    },
)
"""The name is also the row of `configs/base_models.yaml` that holds the weights."""


def load(name: str, weights: Path) -> Backbone:
    """A row of BACKBONES, or a model of a library such as `timm:resnet18.a1_in1k`, from its file of weights."""
    library, _, model = name.partition(":")
    if not model:
        return BACKBONES.get(name)(weights)
    from tenshot.automl.libraries import LIBRARIES

    found: Backbone = LIBRARIES.get(library).load(model, weights)
    return found
