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
