"""What a detector learns from: an image, its boxes, and the group it must not be separated from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tenshot.automl.evaluation.outcomes import Boxes
from tenshot.automl.predictor import RGB
from tenshot.datasets.annotations import Box


@dataclass(frozen=True)
class Example:
    image: str
    """sha256 (hex) of the stored image."""
    pixels: Callable[[], RGB] = field(repr=False, compare=False)
    """Loads the upright image; called as often as it is needed, so it may read from disk."""
    boxes: tuple[Box, ...] = ()
    """Empty: a negative image, which is kept."""
    group: str = ""
    """Images of one group stay on one side of every split; empty: the image alone."""
    image_hw: tuple[int, int] | None = None
    """Pixels, where they are known without decoding."""

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width, pixels."""
        if self.image_hw:
            return self.image_hw
        height, width = self.pixels().shape[:2]
        return height, width


def truth(example: Example, labels: Sequence[str]) -> Boxes:
    """The boxes as evaluation wants them. Raises KeyError for a label that is not in `labels`."""
    index = {name: i for i, name in enumerate(labels)}
    xyxy = np.array([box.xyxy for box in example.boxes], np.float64).reshape(-1, 4)
    ones = np.ones(len(example.boxes))
    return Boxes(xyxy, np.array([index[b.label] for b in example.boxes], np.int64), ones, ones)


def centre_xywh(example: Example) -> NDArray[np.float32]:
    """[K, 4] centre x, centre y, width, height as ratios."""
    rows = [(b.left + b.width / 2, b.top + b.height / 2, b.width, b.height) for b in example.boxes]
    return np.array(rows, np.float32).reshape(-1, 4)
