"""`tenshot train --base`: from a hub of weights on this machine to a bundle that says what it grew from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures_http import Reply, Site, site
from PIL import Image

from tenshot.automl.bundle import read_manifest, verify
from tenshot.automl.predictor import Predictor
from tenshot.datasets.ingest import import_dataset
from tenshot.projects import cli
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace

Ask = Callable[..., tuple[int, Any]]
COLOURS = {"red": (220, 40, 40), "blue": (40, 60, 220)}
HUB_FILE = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    """A hub and a mirror in one, and an empty cache."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("TENSHOT_CACHE__DIR", str(tmp_path / "cache"))
    with site() as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        monkeypatch.setenv("TENSHOT_MODELS__ASSETS_URL", found.url)
        yield found


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def run(*argv: str) -> tuple[int, Any]:
        status = cli.run([*argv, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


def drawn(seed: int, colour: tuple[int, int, int], side: int = 96) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A square of one colour on noise, and its edges."""
    random = np.random.default_rng(seed)
    image = random.integers(90, 170, (side, side, 3)).astype(np.uint8)
    size = int(random.integers(28, 44))
    left, top = (int(v) for v in random.integers(0, side - size, 2))
    image[top : top + size, left : left + size] = colour
    return image, (left, top, left + size, top + size)


def project(workspace: Workspace, folder: Path, task: Task) -> None:
    folder.mkdir()
    rows = ["image,label,xmin,ymin,xmax,ymax" if task is Task.DETECTION else "image,label"]
    for number in range(12):
        name = list(COLOURS)[number % 2]
        image, edges = drawn(number, COLOURS[name])
        Image.fromarray(image).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{name}" + (",{},{},{},{}".format(*edges) if task is Task.DETECTION else ""))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    workspace.store.create_project("p", task, at=1.0)
    import_dataset(workspace, "p", folder / "labels.csv")


def test_a_typo_and_a_hub_that_is_down_create_nothing(
    workspace: Workspace, web: Site, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(workspace, tmp_path / "in", Task.CLASSIFICATION)
    status, found = ask("train", "p", "--base", "test_resnett", "--budget", "5s")
    assert (status, found["error"]["code"]) == (2, "UnknownNameError")
    assert "test_resnet" in found["error"]["hint"]
    status, found = ask("train", "p", "--base", "yolo11n", "--budget", "5s")
    assert (status, found["error"]["code"]) == (2, "UnknownNameError"), "no backbone is called so"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    status, found = ask("train", "p", "--base", "test_resnet", "--budget", "5s")
    assert (status, found["error"]["code"]) == (1, "WeightsError")
    assert "models.hub_url" in found["error"]["hint"]
    assert workspace.store.versions("p") == []
    assert workspace.store.jobs(project="p") == []


@pytest.mark.slow
def test_classifier_from_the_hub(workspace: Workspace, web: Site, ask: Ask, tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save

    torch.manual_seed(0)
    weights = save(timm.create_model("test_resnet", pretrained=False).state_dict())
    web.replies[HUB_FILE] = Reply(status=302, headers={"Location": "/cdn/1", "X-Repo-Commit": "ab" * 20})
    web.replies["/cdn/1"] = Reply(weights)
    project(workspace, tmp_path / "in", Task.CLASSIFICATION)

    status, trained = ask("train", "p", "--base", "timm:test_resnet", "--budget", "40s", "--trials", "2")
    assert status == 0, trained
    assert web.paths == [HUB_FILE, "/cdn/1"], "nothing else was fetched"
    bundle = workspace.bundle_dir("p", 1)
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    assert manifest.base.name == "timm:test_resnet.r160_in1k"
    assert manifest.base.sha256 == hashlib.sha256(weights).hexdigest()
    assert manifest.base.licence == "Apache-2.0"
    assert manifest.base.source == f"hub timm/test_resnet.r160_in1k@{'ab' * 20}: model.safetensors"
    assert manifest.base.sha256 in (bundle / "LICENSE.txt").read_text()
    assert manifest.details["params"]["backbone"] == "timm:test_resnet.r160_in1k"
    answer = Predictor.load(bundle).predict([drawn(100, COLOURS["red"])[0]])
    assert len(answer) == 1
    assert workspace.store.jobs(project="p")[0].payload["base"] == "timm:test_resnet.r160_in1k"


@pytest.mark.slow
def test_detector_from_the_mirror(workspace: Workspace, web: Site, ask: Ask, tmp_path: Path) -> None:
    from tenshot.automl.detectors import yolov8

    network = yolov8._empty_network(80, "yolo11n.yaml")
    network.names = {0: "red"} | {i: f"thing {i}" for i in range(1, 80)}
    torch.save({"model": network.half(), "ema": None}, tmp_path / "made.pt")
    web.replies["/yolo11n.pt"] = Reply((tmp_path / "made.pt").read_bytes())
    project(workspace, tmp_path / "in", Task.DETECTION)

    status, trained = ask("train", "p", "--base", "yolo11n", "--budget", "30s", "--trials", "1")
    assert status == 0, trained
    assert web.paths == ["/yolo11n.pt"]
    bundle = workspace.bundle_dir("p", 1)
    manifest = read_manifest(bundle)
    verify(bundle, manifest)
    assert (manifest.base.name, manifest.base.licence) == ("ultralytics:yolo11n", "AGPL-3.0")
    assert manifest.base.sha256 == hashlib.sha256((tmp_path / "made.pt").read_bytes()).hexdigest()
    assert manifest.labels == ("blue", "red")
    Predictor.load(bundle).predict([drawn(100, COLOURS["red"])[0]])
