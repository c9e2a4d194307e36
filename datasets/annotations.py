"""What is known about an image: its labels and boxes. Pure data, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box in ratios of the upright image's width and height, origin top left, 0…1."""

    label: str
    left: float
    top: float
    width: float
    height: float

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """left, top, right, bottom as ratios."""
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a dataset version."""

    image: str
    """sha256 (hex) of the stored image: upright, 8-bit RGB."""
    name: str
    """File name as the user knows it."""
    width_px: int
    height_px: int
    split: Split
    labels: tuple[str, ...] = ()
    """Image-level labels: one for classification, any number for multilabel, none for detection."""
    boxes: tuple[Box, ...] = ()
    labeled: bool = True
    """False: nobody has looked at the image yet. A labeled image without labels or boxes is a true negative."""

    def to_json(self) -> dict[str, Any]:
        return {
            "image": self.image,
            "name": self.name,
            "width_px": self.width_px,
            "height_px": self.height_px,
            "split": self.split,
            "labels": list(self.labels),
            "boxes": [[b.label, b.left, b.top, b.width, b.height] for b in self.boxes],
            "labeled": self.labeled,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Entry:
        return cls(
            image=document["image"],
            name=document["name"],
            width_px=document["width_px"],
            height_px=document["height_px"],
            split=document["split"],
            labels=tuple(document["labels"]),
            boxes=tuple(Box(*row) for row in document["boxes"]),
            labeled=document["labeled"],
        )

    def in_split(self, split: Split) -> Entry:
        return replace(self, split=split)
