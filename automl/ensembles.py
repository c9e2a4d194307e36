"""Networks that answer together: the mean of their probabilities (a linear opinion pool)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tenshot.automl.scores import Calibration

FLOOR = 1e-7
"""Least probability whose logarithm is taken."""


class Ensemble(nn.Module):
    """[N, 3, H, W] → logits [N, C] of the mean probability.

    Each member sees the images at its own size and with its own temperature, so that a member that is too sure of
    itself does not drown the others.
    """

    def __init__(
        self, members: Sequence[nn.Module], sizes: Sequence[int], temperatures: Sequence[float], *, exclusive: bool
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.sizes = tuple(sizes)
        self.temperatures = tuple(temperatures)
        self.exclusive = exclusive
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        rows = zip(self.members, self.sizes, self.temperatures, strict=True)
        chances = [self._chances(member(resized(x, size)) / temperature) for member, size, temperature in rows]
        mean = torch.stack(chances).mean(0).clamp(FLOOR, 1 - FLOOR)
        return mean.log() if self.exclusive else (mean / (1 - mean)).log()

    def _chances(self, logits: Tensor) -> Tensor:
        return logits.softmax(1) if self.exclusive else logits.sigmoid()


def resized(x: Tensor, size: int) -> Tensor:
    """[N, 3, H, W] → [N, 3, size, size], bilinear. For modest shrinking only: it does not average."""
    if x.shape[-2:] == (size, size):
        return x
    return nn.functional.interpolate(x, (size, size), mode="bilinear", align_corners=False)


def pooled(
    logits: Sequence[NDArray[np.float64]], temperatures: Sequence[float], *, exclusive: bool
) -> NDArray[np.float64]:
    """What `Ensemble` answers where its members answer these logits, each [N, C]."""
    kind = "softmax" if exclusive else "sigmoid"
    parts = [Calibration(kind).apply(z / t) for z, t in zip(logits, temperatures, strict=True)]  # type: ignore[arg-type]
    mean = np.clip(np.mean(parts, axis=0), FLOOR, 1 - FLOOR)
    return np.asarray(np.log(mean) if exclusive else np.log(mean / (1 - mean)))
