"""`tenshot demo` on small photos that the test makes: the whole main job through the command line and HTTP."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tenshot.projects.workspace import Workspace
from tenshot.serving.demo import data
from tenshot.serving.demo.run import Demo, Result

BUDGET_S = 20.0
SOURCE = {"package": "made-by-the-test", "version": "1", "sha256": "0" * 64}
SPECS: dict[str, dict[str, Any]] = {
    "solar-cells": {
        "title": "Cells",
        "task": "classification",
        "source": SOURCE,
        "members": {"table": "cells/labels.csv", "root": "cells"},
        "classes": {"functional": 0.0, "defective": 1.0},
        "train_per_class": 5,
        "test_per_class": 6,
        "seed": 0,
    },
    "tree-crowns": {
        "title": "Crowns",
        "task": "detection",
        "source": SOURCE,
        "members": {"train": "crowns/a.png", "test": "crowns/b.png"},
        "tile_px": 128,
        "min_side_px": 64,
        "min_inside": 0.4,
        "train_tiles": 6,
        "seed": 0,
    },
}


def png(pixels: Any) -> bytes:
    return bytes(cv2.imencode(".png", np.clip(pixels, 0, 255).astype(np.uint8))[1])


def cells(archive: zipfile.ZipFile) -> None:
    """Grey noise; the defective ones have a dark bar."""
    draw = np.random.default_rng(0)
    rows = []
    for i in range(22):
        pixels = draw.normal(150, 12, (96, 96, 3))
        if i % 2:
            at = int(draw.integers(20, 70))
            pixels[at : at + 12, 10:86] = 20
        archive.writestr(f"cells/images/c{i}.png", png(pixels))
        rows.append(f"images/c{i}.png  {i % 2:.1f}  mono")
    archive.writestr("cells/labels.csv", "\n".join(rows))


def crowns(archive: zipfile.ZipFile) -> None:
    """Dark discs on a light ground."""
    draw = np.random.default_rng(1)
    for name in ("a", "b"):
        pixels, boxes = draw.normal(190, 8, (256, 384, 3)), []
        for top in range(16, 240, 64):
            for left in range(16, 368, 64):
                radius = int(draw.integers(10, 16))
                cv2.circle(pixels, (left + 16, top + 16), radius, (40, 90, 40), -1)
                boxes.append((left + 16 - radius, top + 16 - radius, left + 16 + radius, top + 16 + radius))
        objects = "".join(
            f"<object><name>Tree</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
            "</object>"
            for a, b, c, d in boxes
        )
        archive.writestr(f"crowns/{name}.png", png(pixels))
        archive.writestr(f"crowns/{name}.xml", f"<annotation>{objects}</annotation>")


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Demo:
    """The demo with photos of the test instead of the published packages; everything else is the product."""

    def made(_workspace: Workspace, spec: data.Spec) -> Path:
        path = tmp_path / f"{spec['task']}.whl"
        make: Callable[[zipfile.ZipFile], None] = cells if spec["task"] == "classification" else crowns
        with zipfile.ZipFile(path, "w") as archive:
            make(archive)
        return path

    monkeypatch.setattr(data, "specs", lambda: SPECS)
    monkeypatch.setattr(data, "wheel", made)
    monkeypatch.chdir(tmp_path)
    return Demo(Path("demo"), dict.fromkeys(SPECS, BUDGET_S))


def used(result: Result) -> dict[str, float]:
    totals: dict[str, float] = {}
    for row in result.usage:
        totals[row["unit"]] = totals.get(row["unit"], 0.0) + row["quantity"]
    return totals


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "test_images", "least"),
    [
        pytest.param("solar-cells", 12, {"auc": 0.9}, id="classifier"),
        pytest.param("tree-crowns", 6, {"map50": 0.3}, id="detector"),
    ],
)
def test_main_job(demo: Demo, name: str, test_images: int, least: dict[str, float]) -> None:
    (result,) = demo.run([name])
    assert result.ref == f"{name}@1"
    assert result.test_images == test_images
    assert {key: result.metrics[key] for key in least if result.metrics[key] < least[key]} == {}
    assert all(result.intervals[key][0] <= result.metrics[key] <= result.intervals[key][1] for key in least)
    totals = used(result)
    assert totals["image"] == test_images + 1  # the first answer, and then every image
    assert totals["inference_unit_second"] > 0
    assert totals["training_second"] == pytest.approx(result.train_s, abs=15)
    assert demo.tenshot.ask("endpoints", quiet=True).get("endpoints") == []


@pytest.mark.slow
def test_a_second_run_replaces_the_first_ones_project(demo: Demo, tmp_path: Path) -> None:
    spec = SPECS["solar-cells"]
    demo_set = data.write("solar-cells", spec, data.wheel(demo.workspace, spec), tmp_path / "photos")
    for _ in range(2):
        demo._prepare(demo_set)
    (project,) = demo.tenshot.ask("project", "list", quiet=True)["projects"]
    assert project["name"] == "solar-cells"
    assert demo.workspace.store.dataset_version("solar-cells").number == 2
