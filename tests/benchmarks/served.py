"""What the serving benchmark serves: a workspace with a classifier and a detector in it, and photos to send."""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tenshot.automl.bundle import Base, Input, Manifest, Suppression, read_manifest, write_manifest
from tenshot.automl.scores import Calibration
from tenshot.projects.status import Task, VersionStatus
from tenshot.projects.workspace import Workspace

SIDE_PX = 260
DETECTOR = "nudenet_yolov8n"
DETECTOR_SIDE_PX = 640
SIZES_PX = ((640, 480), (1024, 768), (1920, 1080))
PHOTOS = 24
QUALITY = 90
OCTAVES = 6

Body = tuple[str, str]
"""File and content type, as a load job takes them."""


# Photos -----------------------------------------------------------------------------------------------------------


def photos(folder: Path) -> list[Body]:
    """JPEGs of three sizes with the spectrum of a photo: noise at every scale, the coarser the stronger."""
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in range(PHOTOS):
        path = folder / f"{seed}.jpg"
        path.write_bytes(photo(seed, SIZES_PX[seed % len(SIZES_PX)]))
        found.append((str(path), "image/jpeg"))
    return found


def given(folder: Path) -> list[Body]:
    """The user's own JPEGs below a folder, some dozens of them at most, evenly drawn."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    return [(str(path.absolute()), "image/jpeg") for path in paths[:: max(1, len(paths) // PHOTOS)][:PHOTOS]]


def photo(seed: int, size_px: tuple[int, int]) -> bytes:
    rng = np.random.default_rng(seed)
    width, height = size_px
    pixels = np.full((height, width, 3), 128.0)
    for octave in range(OCTAVES):
        grain = 2**octave
        shape = (height // grain + 2, width // grain + 2, 3)
        noise = Image.fromarray(rng.integers(0, 256, shape, np.uint8)).resize(size_px, Image.Resampling.BICUBIC)
        pixels += (np.asarray(noise, np.float64) - 128) * 0.45 * 2 ** (octave - OCTAVES)
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def bad_images(folder: Path, good: Sequence[Body]) -> list[Body]:
    """What no decoder can read, as clients send it."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = Path(good[0][0]).read_bytes()
    kinds = {
        "truncated.jpg": whole[: len(whole) // 3],
        "text.jpg": b"<html>not found</html>",
        "noise.jpg": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40,
        "huge.png": _png_head(60_000, 60_000),
    }
    for name, data in kinds.items():
        (folder / name).write_bytes(data)
    return [(str(folder / name), "image/jpeg") for name in kinds]


def _png_head(width: int, height: int) -> bytes:
    import struct
    import zlib

    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


# Versions ---------------------------------------------------------------------------------------------------------


def install(workspace: Workspace, bundle: Path) -> str:
    """The bundle as the only version of a new project; its reference."""
    at = time.time()
    known = read_manifest(bundle)
    store = workspace.store
    store.create_project(known.project, known.task, at=at)
    store.add_dataset_version(known.project, snapshot_sha256="0" * 64, parent=None, source="-", stats={}, at=at)
    version = store.create_version(known.project, dataset_version=1, at=at)
    shutil.copytree(bundle, workspace.bundle_dir(known.project, version.number))
    store.advance_version(known.project, version.number, VersionStatus.TRAINING_COMPLETED, at=at)
    return version.ref


def make_classifier(directory: Path) -> None:
    """EfficientNet-Lite2 at 260 px with random weights: no figure here depends on them."""
    import timm

    network = timm.create_model("tf_efficientnet_lite2", pretrained=False, num_classes=2)
    spec = Input(SIDE_PX, SIDE_PX, "crop", 0.89)
    _export(network, spec, directory, "logits")
    _describe(directory, "classifier", Task.CLASSIFICATION, ("yes", "no"), spec)


def make_detector(workspace: Workspace, directory: Path, sample: Path) -> Path:
    """YOLOv8n at 640 px from the catalogue's weights; returns the checkpoint that Ultralytics loads."""
    import torch

    from tenshot.automl.base import fetch
    from tenshot.automl.detectors import yolov8

    pixels = np.asarray(Image.open(sample).convert("RGB"))
    found = yolov8.base_network(fetch.ensure(workspace, DETECTOR), [pixels], image_size=DETECTOR_SIDE_PX)
    directory.mkdir(parents=True)
    yolov8.export(found, directory, (DETECTOR_SIDE_PX, DETECTOR_SIDE_PX))
    spec = yolov8.input_spec(DETECTOR_SIDE_PX)
    _describe(directory, "detector", Task.DETECTION, found.labels, spec)
    found.model.args = {}
    checkpoint = directory.with_suffix(".pt")
    torch.save({"model": found.model, "train_args": {}, "epoch": -1}, checkpoint)
    return checkpoint


def _export(network: Any, spec: Input, directory: Path, output: str) -> None:
    from tenshot.automl.training.export import onnx_to_openvino, to_onnx

    to_onnx(network, spec, directory / "model.onnx", (output,))
    onnx_to_openvino(directory / "model.onnx", directory / "model.xml")


def _describe(directory: Path, project: str, task: Task, labels: Sequence[str], spec: Input) -> None:
    detects = task is Task.DETECTION
    write_manifest(
        directory,
        Manifest(
            project=project,
            version=1,
            task=task,
            labels=tuple(labels),
            thresholds=dict.fromkeys(labels, 0.5),
            calibration=Calibration("platt" if detects else "softmax"),
            input=spec,
            base=Base("benchmark", "0" * 64, "-", "-"),
            dataset_version=1,
            dataset_sha256="0" * 64,
            created_at=time.time(),
            seed=0,
            suppression=Suppression() if detects else None,
        ),
    )
