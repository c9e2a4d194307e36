"""A detector's training recipe: every choice that a search may change, and nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tenshot.projects.errors import TrainingError

STRIDE = 32


@dataclass(frozen=True, slots=True)
class Recipe:
    image_size: int = 512
    """Side of the square input, pixels, a multiple of 32."""
    epochs: int = 60
    batch: int = 5
    """Images per step; an optimiser step is taken after every batch."""
    lr: float = 0.002
    """AdamW's first learning rate."""
    lr_final: float = 0.01
    """Last learning rate as a fraction of the first (cosine between them)."""
    weight_decay: float = 0.0005
    warmup_epochs: float = 1.0
    """Epochs in which the learning rate rises from zero."""
    freeze: int = 0
    """First so many of the network's 23 blocks keep their weights: 0 none, 10 the backbone, 22 all but the head."""
    frozen_share: float = 1.0
    """Share of the epochs in which `freeze` holds; after it everything learns."""
    ema_tau: float = 2000.0
    """Steps after which the average of the weights forgets slowly; smaller averages more in a short run."""
    ema_decay: float = 0.9999
    box_gain: float = 7.5
    class_gain: float = 0.5
    dfl_gain: float = 1.5
    mosaic: float = 0.0
    """Probability of putting four images together; off in the last `close_mosaic` epochs."""
    close_mosaic: int = 10
    mixup: float = 0.0
    paste: float = 0.0
    """Probability that objects of other images are pasted into an image (`pasting`)."""
    scale: float = 0.5
    """Gain ±."""
    translate: float = 0.1
    """Fraction of the image ±."""
    degrees: float = 0.0
    fliplr: float = 0.5
    flipud: float = 0.0
    rotate90: float = 0.0
    """Probability of a turn by a random multiple of 90°."""
    hsv_h: float = 0.015
    hsv_s: float = 0.7
    hsv_v: float = 0.4
    multi_scale: float = 0.0
    """Input size ± this fraction, drawn per batch."""

    def __post_init__(self) -> None:
        if self.image_size < STRIDE or self.image_size % STRIDE:
            raise TrainingError(
                f"image_size is {self.image_size}; expected a multiple of {STRIDE}",
                hint=f"use {rounded_size(self.image_size)}",
            )
        if self.epochs < 1 or self.batch < 1:
            raise TrainingError(f"epochs is {self.epochs}, batch is {self.batch}; expected at least 1 of each")

    @property
    def thaw_epoch(self) -> int | None:
        """The first epoch (from 0) in which everything learns; None: what is frozen stays so."""
        return round(self.frozen_share * self.epochs) if self.freeze and self.frozen_share < 1 else None

    def with_(self, **changes: Any) -> Recipe:
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Recipe:
        """Raises TrainingError for a key that no recipe has."""
        unknown = sorted(set(document) - {f.name for f in fields(cls)})
        if unknown:
            raise TrainingError(f"a recipe has no {', '.join(unknown)}; expected {', '.join(cls.__slots__)}")
        return cls(**document)


def rounded_size(pixels: float, lowest: int = STRIDE) -> int:
    """The nearest multiple of 32, at least `lowest`."""
    return max(lowest, round(pixels / STRIDE) * STRIDE)
