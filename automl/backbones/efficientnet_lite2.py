"""EfficientNet-Lite2 (Apache-2.0), ImageNet-1k."""

from __future__ import annotations

from pathlib import Path

import timm
from torch import nn

from tenshot.automl.bundle import Input
from tenshot.automl.networks import Backbone, read_weights
from tenshot.projects.errors import WeightsError

INPUT = Input(260, 260, "crop", crop_ratio=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def load(weights: Path) -> Backbone:
    """The published file has timm's tensors in timm's order under other names: they are matched by position.

    Raises WeightsError if the file is damaged or a shape differs, which would mean another file or another timm.
    """
    model = timm.create_model("tf_efficientnet_lite2", pretrained=False)
    published = read_weights(weights)
    own = model.state_dict()
    pairs = list(zip(own.items(), published.items(), strict=False))
    if len(own) != len(published) or any(a.shape != b.shape for (_, a), (_, b) in pairs):
        raise WeightsError(
            f"{weights.name} does not fit timm's tf_efficientnet_lite2", hint="run: tenshot models verify"
        )
    model.load_state_dict({name: tensor for (name, _), (_, tensor) in pairs})
    first, *rest = model.blocks
    stem = nn.Sequential(model.conv_stem, model.bn1, first)
    return Backbone("efficientnet_lite2", [stem, *rest, nn.Sequential(model.conv_head, model.bn2)], INPUT)
