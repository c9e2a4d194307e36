"""The demo's two sets: Tenshot beside the obvious alternatives, on the same images and with the same metrics.

    make bench-demo

- solar cells: logistic regression (C = 0.05, four views) on frozen EfficientNet-Lite2 features
- tree crowns: `YOLO(...).train(data=...)` with every default of Ultralytics (100 epochs, 640 px, …) from the same
  converted weights; without a test split it validates on the training tiles, and its best.pt is measured

Prints a Markdown table and appends it to docs/benchmarks.md with the command, the machine and the date.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import page

from tenshot.automl.evaluation.evaluate import Evaluation, evaluate
from tenshot.automl.evaluation.outcomes import Boxes, ClassificationOutcome, DetectionOutcome
from tenshot.automl.predictor import RGB, prepare, suppress
from tenshot.automl.scores import softmax
from tenshot.projects.workspace import Workspace
from tenshot.serving.demo import data
from tenshot.serving.demo.run import HEADLINE, Demo

ROOT = Path(__file__).parents[2]
BUDGETS_S = {"solar-cells": 120.0, "tree-crowns": 300.0}
VIEWS = 4
DEFAULT_SIZE_PX = 640

Row = tuple[str, str, str, float]
"""set, method, metric with its interval, seconds of training"""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--only", choices=sorted(BUDGETS_S))
    words.add_argument("--home", type=Path, default=ROOT / "build" / "bench-demo")
    words.add_argument("--baselines", action="store_true", help="do not train Tenshot's own")
    said = words.parse_args()
    names = [said.only] if said.only else list(BUDGETS_S)
    rows = [] if said.baselines else [tenshot(said.home, name) for name in names]
    workspace = Workspace((said.home / ".tenshot").absolute())
    for name in names:
        spec = data.specs()[name]
        demo_set = data.write(name, spec, data.wheel(workspace, spec), said.home / "data" / name)
        label, baseline = BASELINES[name]
        begun = time.monotonic()
        found = baseline(workspace, demo_set)
        rows.append((name, label, headline(found, demo_set.task), time.monotonic() - begun))
    report(sorted(rows))


def tenshot(home: Path, name: str) -> Row:
    result = Demo(home, BUDGETS_S).run([name])[0]
    return (name, f"Tenshot, --budget {BUDGETS_S[name] / 60:g}m", result.headline, result.train_s)


def headline(found: Evaluation, task: str) -> str:
    key, name = HEADLINE[task]
    low, high = found.intervals[key]
    return f"{name} {found.metrics[key]:.3f} ({low:.3f}–{high:.3f})"


def read(path: Path) -> RGB:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1])


# Solar cells ------------------------------------------------------------------------------------------------------


def frozen_features(workspace: Workspace, demo_set: data.DemoSet) -> Evaluation:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from tenshot.automl.features import Extractor, Picture

    extractor = Extractor(workspace, "efficientnet_lite2", "crop")
    last = extractor.columns([extractor.depth - 1])
    train = sorted(demo_set.train.rglob("*.png"))

    def features(paths: list[Path], views: int) -> Any:
        pictures = [Picture(f"bench-{demo_set.name}-{p.stem}", lambda p=p: read(p)) for p in paths]  # type: ignore[misc]
        return extractor.features(pictures, "hflip" if views > 1 else "plain", views, lambda: None)[..., last]

    rows = features(train, VIEWS)
    scale = StandardScaler().fit(rows.reshape(-1, rows.shape[-1]))
    head = LogisticRegression(C=0.05, max_iter=2000)
    head.fit(scale.transform(rows.reshape(-1, rows.shape[-1])), np.repeat([p.parent.name for p in train], VIEWS))
    test = list(demo_set.test_images)
    second = head.decision_function(scale.transform(features(test, 1)[:, 0]))
    raw = np.stack([np.zeros(len(test)), second], axis=1)
    labels = tuple(str(name) for name in head.classes_)
    truth = np.array([[p.parent.name == label for label in labels] for p in test])
    return evaluate(ClassificationOutcome(labels, tuple(p.stem for p in test), truth, raw, softmax(raw), True))


# Tree crowns ------------------------------------------------------------------------------------------------------


def ultralytics_defaults(workspace: Workspace, demo_set: data.DemoSet) -> Evaluation:
    import torch

    from tenshot.automl.base import fetch
    from tenshot.automl.detectors import yolov8

    folder = workspace.home / "ultralytics"
    shutil.rmtree(folder, ignore_errors=True)
    yaml = yolo_set(demo_set, folder / "set")
    photos = [read(p) for p in sorted((demo_set.train / "JPEGImages").glob("*.png"))]
    base = yolov8.base_network(fetch.ensure(workspace, "nudenet_yolov8n"), photos, image_size=DEFAULT_SIZE_PX)
    from ultralytics import YOLO
    from ultralytics.utils import SETTINGS

    SETTINGS.update({"mlflow": False})  # else it opens a tracking database in the working directory

    base.model.args = {}
    torch.save({"model": base.model, "train_args": {}, "epoch": -1}, folder / "base.pt")
    run = YOLO(str(folder / "base.pt"))
    run.train(data=str(yaml), device="cpu", project=str(folder), name="run", plots=False)
    best = YOLO(str(folder / "run" / "weights" / "best.pt")).model.float().eval()
    return detections(yolov8.Detector(("Tree",), DEFAULT_SIZE_PX, best), demo_set)


def yolo_set(demo_set: data.DemoSet, folder: Path) -> Path:
    """The training tiles as Ultralytics wants them; returns the YAML file."""
    for image in sorted((demo_set.train / "JPEGImages").glob("*.png")):
        for kind in ("images", "labels"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, folder / "images")
        height, width = read(image).shape[:2]
        lines = [
            f"0 {(c.left + c.right) / 2 / width} {(c.top + c.bottom) / 2 / height} "
            f"{(c.right - c.left) / width} {(c.bottom - c.top) / height}"
            for c in crowns_of(image)
        ]
        (folder / "labels" / f"{image.stem}.txt").write_text("\n".join(lines), "utf-8")
    yaml = folder / "set.yaml"
    yaml.write_text(f"path: {folder}\ntrain: images\nval: images\nnames: [Tree]\n", "utf-8")
    return yaml


def crowns_of(image: Path) -> list[data.Crown]:
    return data.read_voc((image.parents[1] / "Annotations" / f"{image.stem}.xml").read_bytes())


def detections(detector: Any, demo_set: data.DemoSet) -> Evaluation:
    from tenshot.automl.bundle import Suppression
    from tenshot.automl.detectors import yolov8

    spec, network = yolov8.input_spec(detector.image_size), yolov8.network(detector)
    truth, found = [], []
    for path in demo_set.test_images:
        image = read(path)
        height, width = image.shape[:2]
        edges = [(c.left / width, c.top / height, c.right / width, c.bottom / height) for c in crowns_of(path)]
        ones = np.ones(len(edges))
        truth.append(Boxes(np.array(edges, np.float64).reshape(-1, 4), np.zeros(len(edges), np.int64), ones, ones))
        found.append(suppress(network(prepare(image, spec)[None])[0], (height, width), spec, Suppression()))
    images = tuple(p.stem for p in demo_set.test_images)
    return evaluate(DetectionOutcome(detector.labels, images, tuple(truth), tuple(found)))


BASELINES: dict[str, tuple[str, Callable[[Workspace, data.DemoSet], Evaluation]]] = {
    "solar-cells": ("logistic regression on frozen EfficientNet-Lite2 features", frozen_features),
    "tree-crowns": ("Ultralytics' own defaults from the same weights", ultralytics_defaults),
}


def report(rows: list[Row]) -> None:
    cells = [(name, method, metric, f"{seconds:.0f} s") for name, method, metric, seconds in rows]
    page.append("Demo sets", "make bench-demo", ("set", "method", "on the test images (95 %)", "training"), cells)


if __name__ == "__main__":
    main()
