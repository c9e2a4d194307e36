"""Ultralytics' detectors, from the releases where it publishes them. What is under AGPL-3.0 stays so in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.automl.libraries import Library, Offer, published

if TYPE_CHECKING:
    from tenshot.automl.detectors.yolov8 import Detector
    from tenshot.projects.settings import ModelSettings


def names() -> list[str]:
    from tenshot.automl.detectors import yolov8

    return sorted(yolov8.published())


def offer(name: str, settings: ModelSettings) -> Offer:
    from tenshot.automl.detectors import yolov8

    return Offer(
        model=name,
        title=f"{name} (Ultralytics)",
        licence="AGPL-3.0",
        input="multiples of 32 px, RGB, x / 255",
        sources=(published(yolov8.published()[name], settings),),
    )


def load(model: str, weights: Path) -> Detector:
    """With the classes that it was published for."""
    from tenshot.automl.detectors import yolov8

    return yolov8.published_network(model, weights)


LIBRARY = Library("detector", names, offer, load)
