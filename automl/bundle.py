"""A bundle: everything that is needed to serve a model version, and nothing that trained it.

    bundle.json           the manifest below, with the sha256 of every other file
    model.onnx            the network: float32 [N, 3, H, W] → logits [N, C], or [N, 4 + C, A] for detection; a
                          classifier's second output `features` [N, D] describes the image (automl/novelty.py)
    model.xml, model.bin  the same network as OpenVINO IR
    novelty.npz           of a classifier with that output: what the training images look like
    usual.npz             of a detector: how many boxes how sure and how large it found in them (automl/usual.py)
    second_look/          of some detectors: the network that looks at boxes again (automl/second_look.py)
    card.md               the model card
    LICENSE.txt           licence of the weights that the network came from

No torch here: serving imports this module.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tenshot.automl.scores import Calibration
from tenshot.projects.errors import BundleError
from tenshot.projects.status import Task

MANIFEST = "bundle.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Input:
    """How an upright RGB image becomes the network's input."""

    height: int
    width: int
    fit: Literal["crop", "stretch", "letterbox"]
    """crop: scale the shorter side to size / crop_ratio, cut the centre. stretch: ignore the aspect ratio.
    letterbox: scale the longer side, pad with grey 114 (right and bottom padding halves rounded as in YOLO)."""
    crop_ratio: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Of values scaled to 0…1."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Suppression:
    """Non-maximum suppression of a detector's boxes."""

    iou: float = 0.6
    class_agnostic: bool = False
    max_detections: int = 300
    min_score: float = 0.001


@dataclass(frozen=True, slots=True)
class Base:
    """The pretrained weights that a version grew from."""

    name: str
    sha256: str
    licence: str
    source: str


@dataclass(frozen=True)
class Manifest:
    project: str
    version: int
    task: Task
    labels: tuple[str, ...]
    thresholds: dict[str, float]
    """Assumed threshold of each label, 0…1, chosen on out-of-fold scores."""
    calibration: Calibration
    input: Input
    base: Base
    dataset_version: int
    dataset_sha256: str
    created_at: float
    seed: int
    suppression: Suppression | None = None
    """Detection only."""
    parity: float | None = None
    """Largest absolute difference between the exported and the training network's scores on the same images."""
    details: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    """File name → sha256."""

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        document["format"] = FORMAT
        document["calibration"] = self.calibration.to_json()
        return document

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Manifest:
        document = dict(document)
        found = document.pop("format", None)
        if found != FORMAT:
            raise BundleError(f"bundle format {found!r}; this Tenshot reads format {FORMAT}", hint="train again")
        suppression = document.pop("suppression")
        document["task"] = Task(document["task"])
        document["labels"] = tuple(document["labels"])
        document["calibration"] = Calibration.from_json(document["calibration"])
        spec: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document["input"].items()}
        document["input"] = Input(**spec)
        document["base"] = Base(**document["base"])
        return cls(**document, suppression=Suppression(**suppression) if suppression else None)


def write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    """Hash every file beside it and write `bundle.json` last, so that a bundle without one is an unfinished bundle."""
    files = {
        path.relative_to(directory).as_posix(): sha256_of(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    complete = replace(manifest, files=files)
    temporary = directory / (MANIFEST + ".tmp")
    temporary.write_text(json.dumps(complete.to_json(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    temporary.replace(directory / MANIFEST)
    return complete


def read_manifest(directory: Path) -> Manifest:
    """Raises BundleError if the folder holds no finished bundle."""
    try:
        document = json.loads((directory / MANIFEST).read_text("utf-8"))
        return Manifest.from_json(document)
    except FileNotFoundError:
        raise BundleError(f"{directory} holds no {MANIFEST}", hint="the training did not finish; train again") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{directory / MANIFEST} is damaged: {error}", hint="train again") from None


def verify(directory: Path, manifest: Manifest) -> None:
    """Raises BundleError naming the first file that is missing or differs from its sha256."""
    for name, expected in manifest.files.items():
        path = directory / name
        if not path.is_file():
            raise BundleError(f"{path} is missing", hint="restore it from a backup or train again")
        found = sha256_of(path)
        if found != expected:
            raise BundleError(
                f"{path} is damaged: sha256 {found[:12]}…, expected {expected[:12]}…",
                hint="restore it from a backup or train again",
            )


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
