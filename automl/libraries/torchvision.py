"""torchvision's classifiers. Its code is under BSD-3-Clause, and so are its weights where it names no other licence;
they were trained on ImageNet, whose own terms torchvision leaves to the user to judge."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.automl.libraries import Library, Offer, published
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.networks import Backbone
    from tenshot.projects.settings import ModelSettings

HASH = re.compile(r"-([0-9a-f]{8,64})\.pth$")
OLD_DENSENET = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.((?:[12])\.(?:weight|bias|running_mean|running_var))$"
)
INCEPTIONS = ("googlenet", "inception_v3")


def names() -> list[str]:
    """Architectures, and architectures with the name of one set of weights."""
    from torchvision import models

    found = models.list_models(module=models)
    return [*found, *(f"{name}.{weights}" for name in found for weights in models.get_model_weights(name).__members__)]


def offer(name: str, settings: ModelSettings) -> Offer:
    architecture, weights = _weights(name)
    shown = f"{architecture}.{weights.name}"
    preset = weights.transforms()
    known = HASH.search(weights.url)
    return Offer(
        model=shown,
        title=f"{shown} (torchvision)",
        licence="CC-BY-NC-4.0" if "SWAG" in weights.name else "BSD-3-Clause",
        input=f"{preset.crop_size[0]} px, RGB, ImageNet mean and standard deviation",
        sources=(published(weights.url, settings),),
        sha256=known[1] if known else "",
    )


def load(model: str, weights: Path) -> Backbone:
    import torch
    from torch import nn
    from torchvision import models

    from tenshot.automl.bundle import Input
    from tenshot.automl.cutting import stages
    from tenshot.automl.networks import Backbone, read_weights

    architecture, published_as = _weights(model)
    options: dict[str, Any] = {"init_weights": False} if architecture in INCEPTIONS else {}
    tensors = read_weights(weights)
    with torch.random.fork_rng(devices=[]):
        network = models.get_model(architecture, weights=None, **options)
    state: Any = OrderedDict((OLD_DENSENET.sub(r"\1\2", name), tensor) for name, tensor in tensors.items())
    state._metadata = network.state_dict()._metadata  # some networks ask which version of themselves was saved
    try:
        network.load_state_dict(state)
    except RuntimeError:
        raise WeightsError(
            f"{weights.name} does not fit torchvision's {architecture}",
            hint="the file is damaged or of another model",
        ) from None
    if architecture in INCEPTIONS:
        network.transform_input = True
    _drop_classifier(network, nn)
    preset = published_as.transforms()
    side = preset.crop_size[0]
    spec = Input(
        side, side, "crop", crop_ratio=side / preset.resize_size[0], mean=tuple(preset.mean), std=tuple(preset.std)
    )
    try:
        parts = stages(network, side)
    except Exception as error:
        raise WeightsError(
            f"torchvision's {architecture} cannot be used as a base: {error}", hint="take another model of torchvision"
        ) from error
    return Backbone(f"torchvision:{model}", parts, spec)


def _drop_classifier(network: Any, nn: Any) -> None:
    """The last linear layer; SqueezeNet has none, its class scores are its features."""
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and "aux" not in name]
    if linear:
        owner, _, name = linear[-1].rpartition(".")
        setattr(network.get_submodule(owner), name, nn.Identity())


def _weights(name: str) -> tuple[str, Any]:
    """Architecture and its set of weights: the one that is named, else torchvision's default."""
    from torchvision import models

    architecture, _, wanted = name.partition(".")
    every: Any = models.get_model_weights(architecture)
    return architecture, every[wanted] if wanted else every.DEFAULT


LIBRARY = Library("backbone", names, offer, load)
