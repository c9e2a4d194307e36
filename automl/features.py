"""Features of frozen backbones, computed once with OpenVINO and kept on disk.

The cache key is (weights, fit, image, policy): `TENSHOT_HOME/features/<weights>-<fit>/<image>-<policy>.npy` holds
[V, D] float16 rows, one a view. Deleting the folder loses nothing but time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from tenshot.automl import backbones
from tenshot.automl.base import adopted
from tenshot.automl.bundle import Input
from tenshot.automl.predictor import RGB, prepare
from tenshot.automl.views import view

if TYPE_CHECKING:
    from tenshot.automl.networks import Backbone
    from tenshot.projects.workspace import Workspace

Features = NDArray[np.float32]
"""[N, V, D]"""
FIRST_TAP = 2
"""Earlier stages see only edges and colours and are too large to be worth their time."""
BATCH = 8
CACHE_FORMAT = 1


@dataclass(frozen=True)
class Picture:
    """An image to learn from. `pixels()` decodes it, upright RGB."""

    id: str
    pixels: Callable[[], RGB]


class Extractor:
    """The taps of one backbone, at its own input size or at `size` (height, width)."""

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        fit: Literal["crop", "stretch", "letterbox"],
        size: tuple[int, int] | None = None,
    ) -> None:
        self.name = name
        self.row = adopted.row(workspace, name)
        self.weights = adopted.ensure(workspace, name)
        backbone = self.backbone()
        self.spec: Input = replace(backbone.spec, fit=fit)
        key = self.row.sha256[:12]
        if size is not None and size != (self.spec.height, self.spec.width):
            self.spec = replace(self.spec, height=size[0], width=size[1])
            key = f"{key}@{size[0]}x{size[1]}"
        self.folder = workspace.features / f"{key}-{fit}-{CACHE_FORMAT}"
        self._ir = workspace.cache / "compiled" / f"{key}-taps{FIRST_TAP}-{CACHE_FORMAT}.xml"
        self.depth = backbone.depth
        self._compiled, self.slices = self._compile(backbone)
        self._computed_views, self._computed_s = 0, 0.0

    def backbone(self) -> Backbone:
        """A fresh trainable copy."""
        return backbones.load(self.name, self.weights)

    def columns(self, taps: Sequence[int]) -> NDArray[np.int64]:
        """Columns of a feature row that hold these taps, in the order of the stages."""
        return np.concatenate([np.arange(*self.slices[tap]) for tap in sorted(taps)])

    def features(self, pictures: Sequence[Picture], policy: str, views: int, check: Callable[[], None]) -> Features:
        """[N, V, D]. `check` is called between images and may raise to stop; what was computed stays cached."""
        rows = []
        for picture in pictures:
            check()
            rows.append(self._of(picture, policy, 1 if policy == "plain" else views))
        return np.stack(rows)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, 3, H, W] → [N, D]"""
        return self._run(batch)

    def of_pixels(self, images: Sequence[RGB]) -> NDArray[np.float32]:
        """[N, D] of parts of images, which no cache keeps."""
        inputs = [prepare(image, self.spec) for image in images]
        rows = [self._run(np.stack(part)) for part in _batches(inputs)]
        return np.concatenate(rows) if rows else np.zeros((0, self.width), np.float32)

    @property
    def width(self) -> int:
        return max(stop for _, stop in self.slices.values())

    def missing(self, pictures: Sequence[Picture], policy: str, views: int) -> int:
        """How many views `features` would have to compute, because their file is not there or holds fewer."""
        each = 1 if policy == "plain" else views
        return each * sum(not _holds(self._path(picture, policy), each, self.width) for picture in pictures)

    @property
    def seconds_per_view(self) -> float | None:
        """Of those that were computed, decoding included; None before the first. What came from disk says nothing."""
        return self._computed_s / self._computed_views if self._computed_views else None

    def _path(self, picture: Picture, policy: str) -> Path:
        return self.folder / f"{picture.id}-{policy}.npy"

    def _of(self, picture: Picture, policy: str, views: int) -> NDArray[np.float32]:
        path = self._path(picture, policy)
        known = _read(path)
        if known is not None and len(known) >= views:
            return known[:views].astype(np.float32)
        started = monotonic()
        image = picture.pixels()
        inputs = [prepare(view(image, picture.id, policy, k), self.spec) for k in range(views)]
        found = np.concatenate([self._run(np.stack(part)) for part in _batches(inputs)])
        _write(path, found.astype(np.float16))
        self._computed_views, self._computed_s = self._computed_views + views, self._computed_s + monotonic() - started
        # The very first use must give the same numbers as every later one, so both go through float16.
        return found.astype(np.float16).astype(np.float32)

    def _run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.array(self._compiled(batch)[0], np.float32)

    def _compile(self, backbone: Backbone) -> tuple[Any, dict[int, tuple[int, int]]]:
        import openvino
        import torch

        from tenshot.automl.networks import TapNetwork, pool
        from tenshot.automl.training.export import to_openvino

        slices, start = {}, 0
        with torch.no_grad():
            x = torch.zeros(1, 3, self.spec.height, self.spec.width)
            for index, stage in enumerate(backbone.stages):
                x = stage(x)
                if index >= FIRST_TAP:
                    width = pool(x, last=index == backbone.depth - 1).shape[1]
                    slices[index] = (start, start + width)
                    start += width
        if not self._ir.is_file():
            to_openvino(TapNetwork(backbone, FIRST_TAP), self.spec, self._ir)
        return openvino.Core().compile_model(self._ir, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}), slices


def _batches(inputs: list[NDArray[np.float32]]) -> Iterator[list[NDArray[np.float32]]]:
    for start in range(0, len(inputs), BATCH):
        yield inputs[start : start + BATCH]


def _holds(path: Path, views: int, width: int) -> bool:
    """Whether there are so many rows in it, as far as its length tells."""
    try:
        return path.stat().st_size > views * width * np.dtype(np.float16).itemsize
    except OSError:
        return False


def _read(path: Path) -> NDArray[np.float16] | None:
    try:
        return np.asarray(np.load(path, allow_pickle=False), np.float16)
    except (OSError, ValueError, EOFError):
        return None  # absent, or cut short by a power failure: computed again


def _write(path: Path, rows: NDArray[np.float16]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with partial.open("wb") as sink:
        np.save(sink, rows)
    partial.replace(path)
