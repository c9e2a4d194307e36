"""Deterministic augmented views of an image: view 0 is the image itself, view k is always the same change.

A view is named by its policy and number, so that its features can be cached. Policies are choices of the search:
flips and colours are no givens (a mirrored digit is another digit).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tenshot.automl.predictor import RGB

POLICIES = ("plain", "crop", "hflip", "flips", "colour")
"""plain: the image only. crop: random crops and small rotations. hflip: crop, every other view mirrored. flips: crop,
mirrored, turned upside down and both. colour: hflip with brightness, contrast, hue and blur."""


def view(image: RGB, image_id: str, policy: str, number: int) -> RGB:
    """The `number`-th view of an image under a policy; the same for the same arguments."""
    if number == 0 or policy == "plain":
        return image
    seed = zlib.crc32(f"{image_id}/{policy}/{number}".encode())
    pipeline = _pipeline(policy)
    pipeline.set_random_seed(seed)
    changed = np.asarray(pipeline(image=image)["image"], np.uint8)
    if policy in ("hflip", "flips", "colour") and number % 2:
        changed = changed[:, ::-1]
    if policy == "flips" and number % 4 >= 2:
        changed = changed[::-1]
    return np.ascontiguousarray(changed)


@cache
def _pipeline(policy: str) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations
    import cv2

    steps = [
        albumentations.Affine(scale=(1.0, 1.3), rotate=(-12, 12), translate_percent=(-0.06, 0.06),
                              border_mode=cv2.BORDER_REFLECT_101, p=1.0),
    ]  # fmt: skip
    if policy == "colour":
        steps += [
            albumentations.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, p=1.0),
            albumentations.GaussianBlur(blur_limit=(3, 5), p=0.2),
        ]
    return albumentations.Compose(steps)


FLIPS = ("none", "horizontal", "both")


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are changed while a network is trained on them."""

    flip: str = "none"
    """One of FLIPS."""
    colour: bool = False
    """Change brightness, contrast, saturation and, slightly, hue."""
    strength: float = 1.0
    """0: not at all; 1: turned by up to 15°, moved by a tenth, 0.8 to 1.3 times as large."""


def augmenter(how: Augmentation, seed: int) -> Callable[[RGB], RGB]:
    """Another change at every call, the same sequence for one seed."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    pipeline = albumentations.Compose(_steps(how))
    pipeline.set_random_seed(seed)
    return lambda image: np.asarray(pipeline(image=image)["image"], np.uint8)


def _steps(how: Augmentation) -> list[Any]:
    import albumentations
    import cv2

    s = how.strength
    steps: list[Any] = [
        albumentations.Affine(scale=(1 - 0.2 * s, 1 + 0.3 * s), rotate=(-15 * s, 15 * s),
                              translate_percent=(-0.1 * s, 0.1 * s), border_mode=cv2.BORDER_REFLECT_101, p=1.0),
    ]  # fmt: skip
    if how.colour:
        jitter = albumentations.ColorJitter(
            brightness=0.2 * s, contrast=0.2 * s, saturation=0.2 * s, hue=0.02 * s, p=0.8
        )
        steps.append(jitter)
    if how.flip in ("horizontal", "both"):
        steps.append(albumentations.HorizontalFlip(p=0.5))
    if how.flip == "both":
        steps.append(albumentations.VerticalFlip(p=0.5))
    return steps
