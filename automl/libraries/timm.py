"""timm's image models, from the hub or, for some, from where they were first published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.automl.base.catalogue import HubSource
from tenshot.automl.libraries import Library, Offer, published
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

    from tenshot.automl.base.catalogue import Source
    from tenshot.automl.networks import Backbone
    from tenshot.projects.settings import ModelSettings

SPDX = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
}
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def names() -> list[str]:
    """Architectures, and architectures with the tag of one set of weights."""
    import timm

    return [*timm.list_models(), *timm.list_pretrained()]


def offer(name: str, settings: ModelSettings) -> Offer:
    import timm

    config: Any = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        near = timm.list_pretrained(f"{name.partition('_')[0].partition('.')[0]}*")[:3]
        raise WeightsError(
            f"timm publishes no weights for {name}", hint=f"take for instance {' or '.join(near) or 'resnet18'}"
        )
    model = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    height, width = config.input_size[1:]
    return Offer(
        model=model,
        title=f"{model} (timm)",
        licence=licence(config.license),
        input=f"{width} px, RGB, mean {_numbers(config.mean)}, standard deviation {_numbers(config.std)}"
        + ("" if height == width else f", {height} px high"),
        sources=tuple(_sources(config, settings)),
    )


def licence(text: str | None) -> str:
    """timm's word as SPDX."""
    if not text or text == "unknown":
        return "NOASSERTION"
    return SPDX.get(text, f"LicenseRef-{text}")


def _sources(config: Any, settings: ModelSettings) -> list[Source]:
    found: list[Source] = []
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        files = (config.hf_hub_filename,) if config.hf_hub_filename else HUB_FILES
        found += [HubSource(kind="hub", repository=repository, file=f, revision=revision or "main") for f in files]
    if config.url:
        found.append(published(config.url, settings))
    return found


def _numbers(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:g}" for value in values)


def load(model: str, weights: Path) -> Backbone:
    import timm
    import torch
    from torch import nn

    from tenshot.automl.bundle import Input
    from tenshot.automl.cutting import stages
    from tenshot.automl.networks import Backbone

    class Features(nn.Module):
        """What the classifier sees, [N, D]."""

        def __init__(self, whole: Any) -> None:
            super().__init__()
            self.whole = whole

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.whole.forward_head(self.whole.forward_features(x), pre_logits=True)
            return found

    overlay = {"file": str(weights), "custom_load": weights.suffix == ".npz"}
    try:
        whole = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay)
        if getattr(whole, "dynamic_img_size", False):  # which would look at the size of every image
            whole = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, dynamic_img_size=False)
    except Exception as error:  # each format of weights fails in its own way
        raise WeightsError(
            f"{weights.name} does not hold timm's {model}: {_first_line(error)}",
            hint="the file is damaged or of another model",
        ) from None
    config = whole.pretrained_cfg
    _, height, width = config["input_size"]
    try:
        with torch.random.fork_rng(devices=[]):
            parts = stages(Features(whole), height)
    except Exception as error:
        raise WeightsError(
            f"timm's {model} cannot be used as a base: {_first_line(error)}", hint="take another model of timm"
        ) from error
    spec = Input(
        height, width, "crop", crop_ratio=config["crop_pct"], mean=tuple(config["mean"]), std=tuple(config["std"])
    )
    return Backbone(f"timm:{model}", parts, spec)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


LIBRARY = Library("backbone", names, offer, load)
