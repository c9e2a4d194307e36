"""The base detector's weights and generated pictures: bright squares and dark discs on noise."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from tenshot.automl.base import fetch
from tenshot.automl.detectors.examples import Example
from tenshot.datasets.annotations import Box
from tenshot.projects.workspace import Workspace

LABELS = ("disc", "square")


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch.ensure(Workspace(tmp_path_factory.mktemp("home")), "nudenet_yolov8n")


def picture(seed: int, *, height: int = 96, width: int = 128) -> Example:
    """One square and one disc at random places."""
    random = np.random.default_rng(seed)
    image = random.integers(90, 130, (height, width, 3), np.uint8)
    boxes = []
    for label in LABELS:
        side = int(random.integers(24, 40))
        left, top = int(random.integers(0, width - side)), int(random.integers(0, height - side))
        if label == "square":
            cv2.rectangle(image, (left, top), (left + side - 1, top + side - 1), (240, 240, 40), -1)
        else:
            cv2.circle(image, (left + side // 2, top + side // 2), side // 2, (20, 20, 60), -1)
        boxes.append(Box(label, left / width, top / height, side / width, side / height))
    return Example(hashlib.sha256(image.tobytes()).hexdigest(), lambda: image, tuple(boxes))


@pytest.fixture(scope="session")
def pictures() -> list[Example]:
    return [picture(seed) for seed in range(8)]
