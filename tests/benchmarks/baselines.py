"""The obvious alternatives to Tenshot, on the same images and from the same weights.

Each takes a workspace (for the weights and the cache of features) and `Shots`, and returns what its model says of the
test images, to be measured as Tenshot's own versions are.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from samples import Sample, Shots

from tenshot.automl.evaluation.outcomes import ClassificationOutcome, DetectionOutcome, Floats, Outcome
from tenshot.automl.outcome import boxes_of
from tenshot.automl.predictor import prepare, suppress
from tenshot.automl.scores import softmax

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

BACKBONE = "efficientnet_lite2"
VIEWS = 4
STRENGTH = 0.05

SIDE_PX = 224
STORED_PX = 288
"""Shorter side of the training images in memory, from which the crops are taken."""
HEAD_EPOCHS, EPOCHS = 5, 20
BATCH = 16
LR, HEAD_LR = 5e-4, 5e-3

DEFAULT_SIZE_PX = 640
DEFAULT_NMS_IOU = 0.7


# Logistic regression on frozen features ---------------------------------------------------------------------------


def logistic(workspace: Workspace, shots: Shots, policy: str = "crop") -> Outcome:
    """C = 0.05 on the last stage's features of four augmented views; `policy` as in automl/views.py."""
    from sklearn.linear_model import LogisticRegression

    from tenshot.automl.features import Extractor, Picture

    extractor = Extractor(workspace, BACKBONE, "crop")
    last = extractor.columns([extractor.depth - 1])
    prefix = shots.name.replace("/", "-")

    def features(samples: Sequence[Sample], kind: str, views: int) -> Any:
        pictures = [Picture(f"bench-{prefix}-{s.path.stem}", s.pixels) for s in samples]
        return extractor.features(pictures, kind, views, lambda: None)[..., last]

    rows = features(shots.train, policy, VIEWS)
    head = LogisticRegression(C=STRENGTH, max_iter=2000)
    head.fit(rows.reshape(-1, rows.shape[-1]), np.repeat([s.labels[0] for s in shots.train], VIEWS))
    found = head.decision_function(features(shots.test, "plain", 1)[:, 0])
    raw = np.stack([np.zeros(len(found)), found], axis=1) if found.ndim == 1 else found
    return _classified(shots, tuple(str(name) for name in head.classes_), raw)


def _classified(shots: Shots, labels: tuple[str, ...], raw: Floats) -> ClassificationOutcome:
    truth = np.array([[label in s.labels for label in labels] for s in shots.test])
    images = tuple(s.path.stem for s in shots.test)
    return ClassificationOutcome(labels, images, truth, raw, softmax(raw), True)


# Plain fine-tuning ------------------------------------------------------------------------------------------------


def fine_tuning(workspace: Workspace, shots: Shots, seed: int = 0) -> Outcome:
    """The head alone for 5 epochs, then the whole network for 20; batch norms keep their statistics; AdamW, cosine;
    random crops of 224 px, small rotations, colour jitter. No validation, no search."""
    import torch

    torch.manual_seed(seed)
    random.seed(seed)
    network = _network(workspace, len(shots.labels))
    truth = torch.tensor([shots.labels.index(s.labels[0]) for s in shots.train])
    photos = [_shrunk(s, STORED_PX) for s in shots.train]
    _fit(network, photos, truth, list(network[-1].parameters()), HEAD_EPOCHS, HEAD_LR)
    _fit(network, photos, truth, list(network.parameters()), EPOCHS, LR)
    return _classified(shots, shots.labels, _logits(network, shots.test))


def _network(workspace: Workspace, labels: int) -> Any:
    """Stays in evaluation mode throughout: that is what freezes the batch norms."""
    import torch
    from torch import nn

    from tenshot.automl.backbones import BACKBONES
    from tenshot.automl.base import fetch

    backbone = BACKBONES.get(BACKBONE)(fetch.ensure(workspace, BACKBONE))
    body = nn.Sequential(*backbone.stages, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    width = body(torch.zeros(1, 3, SIDE_PX, SIDE_PX)).shape[1]
    return nn.Sequential(body, nn.Linear(width, labels))


def _fit(network: Any, photos: list[Any], truth: Any, trained: list[Any], epochs: int, lr: float) -> None:
    import torch
    from torchvision import transforms

    change = transforms.Compose(
        [
            transforms.RandomResizedCrop(SIDE_PX, scale=(0.6, 1.0)),
            transforms.RandomRotation(10),
            transforms.ColorJitter(0.2, 0.2, 0.2, 0.02),
            *_to_tensor(),
        ]
    )
    network.requires_grad_(False)
    for tensor in trained:
        tensor.requires_grad_(True)
    optimizer = torch.optim.AdamW(trained, lr=lr)
    steps = epochs * -(-len(photos) // BATCH)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(photos)).split(BATCH):
            batch = torch.stack([change(photos[int(i)]) for i in rows])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(batch), truth[rows]).backward()
            optimizer.step()
            cosine.step()


def _logits(network: Any, samples: Sequence[Sample]) -> Floats:
    import torch
    from torchvision import transforms

    look = transforms.Compose([transforms.CenterCrop(SIDE_PX), *_to_tensor()])
    with torch.inference_mode():
        rows = [network(look(_shrunk(s, round(SIDE_PX / 0.89)))[None])[0] for s in samples]
    return np.asarray(torch.stack(rows).double())


def _shrunk(sample: Sample, side_px: int) -> Any:
    from PIL import Image
    from torchvision import transforms

    return transforms.Resize(side_px)(Image.fromarray(sample.pixels()))


def _to_tensor() -> list[Any]:
    from torchvision import transforms

    return [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]


# Ultralytics' own train -------------------------------------------------------------------------------------------


def ultralytics(workspace: Workspace, shots: Shots) -> Outcome:
    """`YOLO(...).train(data=...)` with every default (100 epochs, 640 px, mosaic, …) from the same converted weights.
    Without images to spare it validates on the training images, and its best.pt is measured."""
    import torch

    from tenshot.automl.base import fetch
    from tenshot.automl.detectors import yolov8

    folder = workspace.home / "ultralytics"
    shutil.rmtree(folder, ignore_errors=True)
    yaml = _yolo_set(shots, folder / "set")
    weights = fetch.ensure(workspace, "nudenet_yolov8n")
    base = yolov8.base_network(weights, [s.pixels() for s in shots.train], image_size=DEFAULT_SIZE_PX)
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    SETTINGS.update({"mlflow": False})  # else it opens a tracking database in the working directory
    base.model.args = {}
    torch.save({"model": base.model, "train_args": {}, "epoch": -1}, folder / "base.pt")
    run = YOLO(str(folder / "base.pt"))
    run.train(data=str(yaml), device="cpu", project=str(folder), name="run", plots=False)
    best = YOLO(str(folder / "run" / "weights" / "best.pt")).model.float().eval()
    return _detected(yolov8.Detector(shots.labels, DEFAULT_SIZE_PX, best), shots)


def _yolo_set(shots: Shots, folder: Path) -> Path:
    """The training images as Ultralytics wants them; returns the YAML file."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for sample in shots.train:
        shutil.copy(sample.path, folder / "images")
        lines = [
            f"{shots.labels.index(b.label)} {b.left + b.width / 2} {b.top + b.height / 2} {b.width} {b.height}"
            for b in sample.boxes
        ]
        (folder / "labels" / f"{sample.path.stem}.txt").write_text("\n".join(lines), "utf-8")
    yaml, names = folder / "set.yaml", ", ".join(f'"{name}"' for name in shots.labels)
    yaml.write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [{names}]\n", "utf-8")
    return yaml


def _detected(detector: Any, shots: Shots) -> DetectionOutcome:
    from tenshot.automl.bundle import Suppression
    from tenshot.automl.detectors import yolov8

    spec, network = yolov8.input_spec(detector.image_size), yolov8.network(detector)
    found = []
    for sample in shots.test:
        image = sample.pixels()
        output = network(prepare(image, spec)[None])[0]
        found.append(suppress(output, image.shape[:2], spec, Suppression(iou=DEFAULT_NMS_IOU)))
    images = tuple(s.path.stem for s in shots.test)
    truth = tuple(boxes_of(s.boxes, shots.labels) for s in shots.test)
    return DetectionOutcome(shots.labels, images, truth, tuple(found))


BASELINES: dict[str, dict[str, Callable[[Workspace, Shots], Outcome]]] = {
    "classification": {"logistic": logistic, "fine-tuning": fine_tuning},
    "detection": {"ultralytics": ultralytics},
}
"""Task → name → baseline."""
