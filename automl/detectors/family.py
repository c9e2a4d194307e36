"""What a detector family offers; one row in `DETECTORS` for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenshot.automl.bundle import Input
from tenshot.automl.predictor import Network


@dataclass(frozen=True)
class DetectorFamily:
    """The functions of one family's module; their contracts are in the docstrings of `yolov8`."""

    name: str
    load_base: Callable[..., Any]
    """(onnx_path, labels, *, images, image_size, seed) → detector."""
    train: Callable[..., Any]
    """(detector, examples, recipe, *, seed, threads, on_epoch, check, deadline) → detector."""
    network: Callable[[Any], Network]
    export: Callable[[Any, Any, tuple[int, int]], None]
    """(detector, directory, image_size_hw)."""
    input_spec: Callable[[int], Input]
    save: Callable[[Any, Path], None]
    """(detector, path)."""
    load: Callable[[Path], Any]
