"""What a form of export has to do, and what every one of them does alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenshot.automl.bundle import Manifest
from tenshot.serving.exporting import carrying
from tenshot.serving.exporting.alone import Alone

Answer = dict[str, Any]
"""`{"labels": [{"name", "confidence", "box"}], "novelty"}`; an image that was refused has `"error"` as well."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says besides; `k8s` alone reads it."""

    image: str = ""
    """Reference of the container image; empty: NAME:VERSION."""
    keda: bool = False
    """Scale to zero with KEDA's HTTP add-on instead of a HorizontalPodAutoscaler."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A model version on its way out."""

    bundle: Path
    manifest: Manifest
    options: Options = field(default_factory=Options)

    @property
    def ref(self) -> str:
        return f"{self.manifest.project}@{self.manifest.version}"


@dataclass(slots=True)
class Observed:
    """Of a server while it was checked."""

    memory_bytes: int = 0
    """Most that its processes held together."""
    start_s: float = 0.0
    cpu_s_per_image: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "memory_bytes": self.memory_bytes,
            "start_s": round(self.start_s, 2),
            "cpu_s_per_image": round(self.cpu_s_per_image, 4),
        }


Seen = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and of how much."""


class Form(ABC):
    """One form of export. `write`, then `ask`, then `finish`; the folder is put in place after that.

    `folder` is empty at first, and its parent is a folder for this export alone."""

    name: str
    runtime: str = "openvino"
    """What runs the network there: `openvino`, as an endpoint, or `onnxruntime`."""
    home: str = ""
    """Folder below the export's in which predict.py and its files lie."""

    def __init__(self, leaving: Leaving, folder: Path) -> None:
        self.leaving = leaving
        self.folder = folder
        self.observed = Observed()

    @property
    def model_dir(self) -> Path:
        return self.folder / self.home

    def carry(self, folder: Path | None = None) -> None:
        """Put the model, predict.py and card.json into `folder`, else into `model_dir`."""
        carrying.carry(self.leaving.bundle, self.leaving.manifest, folder or self.model_dir, self.runtime)

    @abstractmethod
    def write(self) -> None:
        """Everything that can be written before the check. Raises ExportError, MissingDependencyError."""

    @abstractmethod
    def ask(self, alone: Alone, images: Sequence[Path], min_confidence: Sequence[float | None]) -> list[list[Answer]]:
        """What the export answers in processes of its own: for each of `min_confidence` the answers to all images, in
        order. Raises ExportError."""

    def finish(self) -> None:  # noqa: B027 – most have nothing left to do
        """What has to wait for the check: its figures are in `observed` and in the card."""

    @abstractmethod
    def how_to_run(self) -> list[str]:
        """At most three lines for a shell in the export's folder."""
