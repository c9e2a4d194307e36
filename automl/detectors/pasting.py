"""Copy and paste of labeled objects between training images: ten images hold few objects on few backgrounds.

Only boxes are known. A colour model of what is inside and outside of a box (GrabCut) gives an outline where it finds a
convincing one; otherwise the whole box is pasted with soft edges.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""[H, W, 3]; the order of the channels does not matter as long as it is one for all."""
Floats = NDArray[np.float32]

CONTEXT = 0.3
"""Of a box's sides, on each side: what the outline's colour model of the background sees."""
OUTLINE_PX = 128
"""The longer side at which outlines are sought; finer ones cost time and change nothing."""
OUTLINE_ROUNDS = 3
FILLED = (0.2, 0.95)
"""Share of its box that an outline may fill to be believed; more is the box itself."""
SPANNED = 0.85
"""Share of the box's width and height that it must span."""
FEATHER = 0.06
"""Of the shorter side: width of the soft edge."""
SMALLEST_PX = 8
MOST = 3
"""Objects pasted into one image."""
SIZES = (0.5, 1.5)
LARGEST = 0.7
"""Of the image's sides."""
TILT_DEGREES = 20.0
COVERED = 0.2
"""Share of any object, new or old, that another one may hide."""
MOST_CUTTINGS = 64
"""Of one training; finding an outline takes about 20 ms."""
TRIES = 12
"""Places that are tried for one object."""


@dataclass(frozen=True)
class Cutting:
    """An object that was cut out: `alpha` [H, W], 0…1, says how much of each pixel is the object's."""

    pixels: Image
    alpha: Floats
    label: int


def cuttings(image: Image, boxes: Floats, labels: Sequence[int]) -> list[Cutting]:
    """The objects of an image; boxes [K, 4] as centre x, centre y, width, height ratios. Those that are a few pixels
    small are left out."""
    found = [
        _cutting(image, corners, int(label)) for corners, label in zip(_corners(boxes, image), labels, strict=True)
    ]
    return [cutting for cutting in found if cutting is not None]


def chosen(labels: Sequence[Floats], rng: np.random.Generator) -> dict[int, list[int]]:
    """Which boxes of which image to cut out: all, or MOST_CUTTINGS of them, as many of each label as can be.

    labels: for each image the label of each box.
    """
    places = [(i, k, float(label)) for i, row in enumerate(labels) for k, label in enumerate(row)]
    ranks: dict[float, int] = {}
    order = []
    for n in rng.permutation(len(places)).tolist():
        label = places[n][2]
        ranks[label] = ranks.get(label, -1) + 1
        order.append((ranks[label], n))
    found: dict[int, list[int]] = {}
    for _, n in sorted(order)[:MOST_CUTTINGS]:
        found.setdefault(places[n][0], []).append(places[n][1])
    return {i: sorted(found[i]) for i in sorted(found)}


def pasted(
    image: Image, boxes: Floats, labels: Floats, pool: Sequence[Cutting], rng: np.random.Generator
) -> tuple[Image, Floats, Floats]:
    """A copy of the image with up to MOST more objects, where they hide nothing, with its boxes [K, 4] (ratios, centre
    first) and labels [K, 1]. Every label of `pool` is as likely as any other."""
    image, corners = image.copy(), _corners(boxes, image)
    added: list[tuple[NDArray[np.float64], int]] = []
    for _ in range(int(rng.integers(1, MOST + 1))):
        cutting = _drawn(pool, rng)
        new = _turned(cutting, image, rng)
        place = _free_place(new, image, [*corners, *(box for box, _ in added)], rng) if new else None
        if new is None or place is None:
            continue
        _blend(image, new, place)
        added.append((_tight(new.alpha) + np.array([*place, *place]), cutting.label))
    if not added:
        return image, boxes, labels
    rows = _ratios(np.stack([box for box, _ in added]), image)
    names = np.array([[label] for _, label in added], np.float32)
    return image, np.concatenate([boxes, rows]), np.concatenate([labels.reshape(-1, 1), names])


def _drawn(pool: Sequence[Cutting], rng: np.random.Generator) -> Cutting:
    label = rng.choice(sorted({cutting.label for cutting in pool}))
    of_label = [cutting for cutting in pool if cutting.label == label]
    return of_label[int(rng.integers(len(of_label)))]


# Cutting out ------------------------------------------------------------------------------------------------------


def _cutting(image: Image, corners: NDArray[np.float64], label: int) -> Cutting | None:
    left, top, right, bottom = (round(float(v)) for v in corners)
    if min(right - left, bottom - top) < SMALLEST_PX:
        return None
    outline = _outline(image, (left, top, right, bottom))
    pixels = image[top:bottom, left:right].copy()
    return Cutting(pixels, _soft_box(pixels.shape[:2]) if outline is None else outline, label)


def _outline(image: Image, box: tuple[int, int, int, int]) -> Floats | None:
    """Alpha of the object in its box; None without a convincing one."""
    left, top, right, bottom = box
    x, y = round(CONTEXT * (right - left)), round(CONTEXT * (bottom - top))
    outer = (max(0, left - x), max(0, top - y), min(image.shape[1], right + x), min(image.shape[0], bottom + y))
    around = image[outer[1] : outer[3], outer[0] : outer[2]]
    scale = min(1.0, OUTLINE_PX / max(around.shape[:2]))
    small = cv2.resize(around, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    inner = np.zeros(around.shape[:2], np.uint8)
    inner[top - outer[1] : bottom - outer[1], left - outer[0] : right - outer[0]] = 1
    start = cv2.resize(inner, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_NEAREST)
    if start.all():  # nothing is known of the background
        return None
    object_, background = np.zeros((1, 65)), np.zeros((1, 65))
    mask = np.where(start > 0, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    try:
        cv2.setRNGSeed(0)
        cv2.grabCut(small, mask, (0, 0, 0, 0), background, object_, OUTLINE_ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # one colour only: no model of it
        return None
    inside = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    alpha = cv2.resize(inside, (around.shape[1], around.shape[0]), interpolation=cv2.INTER_LINEAR)
    alpha = alpha[top - outer[1] : bottom - outer[1], left - outer[0] : right - outer[0]]
    return np.asarray(alpha, np.float32) if _convincing(alpha > 0.5) else None


def _convincing(inside: NDArray[np.bool_]) -> bool:
    if not FILLED[0] <= inside.mean() <= FILLED[1]:
        return False
    across, down = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    width, height = across[-1] - across[0] + 1, down[-1] - down[0] + 1
    return bool(width >= SPANNED * inside.shape[1] and height >= SPANNED * inside.shape[0])


def _soft_box(shape: tuple[int, ...]) -> Floats:
    """1 inside, falling to 0 at the edges."""
    height, width = shape
    edge = max(1.0, FEATHER * min(height, width))
    down = np.minimum(np.arange(height) + 0.5, np.arange(height)[::-1] + 0.5) / edge
    across = np.minimum(np.arange(width) + 0.5, np.arange(width)[::-1] + 0.5) / edge
    return np.asarray(np.minimum(1.0, np.minimum(down[:, None], across[None, :])), np.float32)


# Pasting ----------------------------------------------------------------------------------------------------------


def _turned(cutting: Cutting, image: Image, rng: np.random.Generator) -> Cutting | None:
    """Mirrored or not, scaled and tilted; None if it became too small or has no place in the image."""
    height, width = cutting.alpha.shape
    angle, mirrored = math.radians(rng.uniform(-TILT_DEGREES, TILT_DEGREES)), rng.random() < 0.5
    cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
    scale = math.exp(rng.uniform(*np.log(SIZES)))
    room = LARGEST * np.array(image.shape[1::-1]) / [width * cos + height * sin, width * sin + height * cos]
    scale = min(scale, float(room.min()))
    size = (math.ceil(scale * (width * cos + height * sin)), math.ceil(scale * (width * sin + height * cos)))
    if scale * min(height, width) < SMALLEST_PX:
        return None
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), math.degrees(angle), scale)
    matrix[:, 2] += np.array(size) / 2 - [width / 2, height / 2]
    pixels, alpha = (cutting.pixels[:, ::-1], cutting.alpha[:, ::-1]) if mirrored else (cutting.pixels, cutting.alpha)
    warped = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, size, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(np.ascontiguousarray(alpha), matrix, size)
    return (
        Cutting(np.asarray(warped, np.uint8), np.asarray(mask, np.float32), cutting.label) if mask.max() > 0.5 else None
    )


def _free_place(
    new: Cutting, image: Image, others: Sequence[NDArray[np.float64]], rng: np.random.Generator
) -> tuple[int, int] | None:
    """Left and top at which it hides at most COVERED of anything; None if no try found one."""
    height, width = new.alpha.shape
    for _ in range(TRIES):
        left = int(rng.integers(0, max(1, image.shape[1] - width + 1)))
        top = int(rng.integers(0, max(1, image.shape[0] - height + 1)))
        box = np.array([left, top, left + width, top + height], np.float64)
        if all(_hidden(box, other) <= COVERED for other in others):
            return left, top
    return None


def _hidden(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """What the two share, of the smaller one."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    smaller = min(np.prod(one[2:] - one[:2]), np.prod(other[2:] - other[:2]))
    return float(np.prod(np.maximum(sides, 0.0)) / max(smaller, 1.0))


def _blend(image: Image, new: Cutting, place: tuple[int, int]) -> None:
    left, top = place
    height, width = new.alpha.shape
    under = image[top : top + height, left : left + width]
    alpha = new.alpha[: under.shape[0], : under.shape[1], None]
    mixed = alpha * new.pixels[: under.shape[0], : under.shape[1]] + (1.0 - alpha) * under
    under[:] = np.rint(mixed).astype(np.uint8)


def _tight(alpha: Floats) -> NDArray[np.float64]:
    """Left, top, right, bottom of what can be seen, pixels."""
    across, down = np.flatnonzero((alpha > 0.5).any(axis=0)), np.flatnonzero((alpha > 0.5).any(axis=1))
    return np.array([across[0], down[0], across[-1] + 1, down[-1] + 1], np.float64)


def _corners(boxes: Floats, image: Image) -> NDArray[np.float64]:
    """Left, top, right, bottom in pixels, within the image."""
    height, width = image.shape[:2]
    xy, half = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64) / 2
    return np.clip(np.concatenate([xy - half, xy + half], axis=1), 0.0, 1.0) * [width, height, width, height]


def _ratios(corners: NDArray[np.float64], image: Image) -> Floats:
    height, width = image.shape[:2]
    boxes = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    return np.asarray(boxes / [width, height, width, height], np.float32)
