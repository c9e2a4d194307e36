"""Search spaces with the base that the user named in the place of the product's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenshot.automl.networks import Backbone
    from tenshot.automl.search.space import Space


def rebased(spaces: Mapping[str, Space], backbone: Backbone) -> dict[str, Space]:
    """Every kind with this backbone alone, at input sizes that it works at."""
    return {kind: _rebased(space, backbone) for kind, space in spaces.items()}


def _rebased(space: Space, backbone: Backbone) -> Space:
    choices = dict(space.choices)
    if "backbone" in choices:
        choices["backbone"] = [backbone.name]
    if "size" in choices:
        fitting = [size for size in choices["size"] if works_at(backbone, size)]
        choices["size"] = fitting or [backbone.spec.height]

    def fitted(recipe: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(recipe)
        if "backbone" in found:
            found["backbone"] = backbone.name
        if "size" in found:
            found["size"] = min(choices["size"], key=lambda size: abs(size - recipe["size"]))
        return found

    return replace(space, choices=choices, default=fitted(space.default), known=tuple(map(fitted, space.known)))


def works_at(backbone: Backbone, size: int) -> bool:
    """Whether the network takes images of this side. Convolutions take any; what counts its tokens takes its own."""
    import torch

    if (size, size) == (backbone.spec.height, backbone.spec.width):
        return True
    x = torch.zeros(1, 3, size, size)
    try:
        with torch.inference_mode():
            for stage in backbone.stages:
                x = stage(x)
    except (RuntimeError, ValueError, AssertionError, TypeError):
        return False
    return True
