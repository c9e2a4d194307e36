"""MobileNetV2 (BSD-3-Clause), ImageNet-1k."""

from __future__ import annotations

from pathlib import Path

import torchvision

from tenshot.automl.bundle import Input
from tenshot.automl.networks import Backbone, read_weights
from tenshot.projects.errors import WeightsError

INPUT = Input(224, 224, "crop", crop_ratio=1.0, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
STAGES = (
    slice(0, 2),
    slice(2, 4),
    slice(4, 7),
    slice(7, 11),
    slice(11, 14),
    slice(14, 17),
    slice(17, 18),
    slice(18, 19),
)
"""Blocks of equal resolution and width."""


def load(weights: Path) -> Backbone:
    """Raises WeightsError if the file is damaged or of another network."""
    model = torchvision.models.mobilenet_v2(weights=None)
    try:
        model.load_state_dict(read_weights(weights))
    except RuntimeError as error:
        raise WeightsError(
            f"{weights.name} does not fit torchvision's mobilenet_v2", hint="run: tenshot models verify"
        ) from error
    return Backbone("mobilenet_v2", [model.features[part] for part in STAGES], INPUT)
