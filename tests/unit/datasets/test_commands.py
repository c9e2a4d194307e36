"""`tenshot dataset …` as a user calls it, in this process."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tenshot.datasets import commands
from tenshot.projects import console
from tenshot.projects.errors import AlreadyExists, EmptyDataError, FormatError, ProjectNotFound
from tenshot.projects.status import JobStatus, Task


@pytest.fixture
def photos(workspace, tmp_path) -> Path:
    workspace.store.create_project("p", Task.CLASSIFICATION, at=0)
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        for n in range(3):
            path = tmp_path / "in" / "train" / label / f"{label}{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (20, 30, 3), np.uint8)).save(path)
    (tmp_path / "in" / "train" / "cat" / "bad.jpg").write_bytes(b"nothing")
    return tmp_path / "in"


def run(*words: object, as_json: bool = True):
    console.mode.json = as_json
    result = CliRunner().invoke(commands.dataset, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout) if as_json else result.stdout


def test_import_show_versions(photos, workspace):
    report = run("import", "p", photos)
    assert {
        key: report[key] for key in ("project", "version", "imported", "duplicates", "labels", "train", "test")
    } == {
        "project": "p",
        "version": 1,
        "imported": 6,
        "duplicates": 0,
        "labels": ["cat", "dog"],
        "train": 6,
        "test": 0,
    }
    (refused,) = report["refused"]
    assert refused["file"].endswith("bad.jpg")
    assert (refused["line"], refused["code"]) == (None, "ImageError")
    (job,) = workspace.store.jobs(project="p")
    assert (job.kind, job.status) == ("import", JobStatus.SUCCEEDED)
    assert job.progress == {"done": 7, "refused": 1}
    shown = run("show", "p")
    assert (shown["version"], shown["train"]) == (1, {"images": 6, "labels": {"cat": 3, "dog": 3}})
    assert [version["version"] for version in run("versions", "p")["versions"]] == [1]


def test_for_people(photos):
    text = run("import", "p", photos, as_json=False)
    assert "dataset version 1 with 6 train and 0 test images" in text
    assert "Refused" in text
    assert "nothing new; still dataset version 1" in run("import", "p", photos, as_json=False)
    assert "cat" in run("show", "p", as_json=False)
    assert "no-test" not in run("check", "p", as_json=False)
    assert "import a test set" in " ".join(run("check", "p", as_json=False).split())


def test_check(photos):
    run("import", "p", photos)
    found = run("check", "p")
    assert found["ok"] is True
    assert {finding["code"] for finding in found["findings"]} == {"few-images", "no-test"}


def test_export_and_import_again(photos, workspace, tmp_path):
    run("import", "p", photos)
    assert run("export", "p", tmp_path / "out", "--format", "csv") == {
        "project": "p",
        "path": str(tmp_path / "out"),
        "format": "csv",
        "images": 6,
    }
    workspace.store.create_project("q", Task.CLASSIFICATION, at=0)
    assert run("import", "q", tmp_path / "out")["imported"] == 6
    one, other = (workspace.store.dataset_version(name).snapshot_sha256 for name in "pq")
    assert one == other
    with pytest.raises(AlreadyExists):
        run("export", "p", tmp_path / "out", "--format", "csv")
    with pytest.raises(FormatError, match="cannot hold the labels of a classification project"):
        run("export", "p", tmp_path / "new", "--format", "yolo")
    with pytest.raises(EmptyDataError):
        run("export", "p", tmp_path / "new", "--format", "csv", "--split", "test")


def test_failures(photos, workspace, tmp_path):
    with pytest.raises(ProjectNotFound):
        run("import", "nobody", photos)
    assert workspace.store.jobs() == []
    for path in (photos / "train").rglob("*.png"):
        path.unlink()
    with pytest.raises(EmptyDataError, match="all 1 records were refused"):
        run("import", "p", photos, "--format", "folders")
    (job,) = workspace.store.jobs(project="p")
    assert job.status is JobStatus.FAILED
    assert "EmptyDataError" in job.message


def test_labels_are_no_markup(workspace, tmp_path):
    workspace.store.create_project("p", Task.CLASSIFICATION, at=0)
    for n, label in enumerate(("[b]", "[red]apple")):
        (tmp_path / "[x]" / label).mkdir(parents=True)
        pixels = np.random.default_rng(n).integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "[x]" / label / "a.png")
    assert "labels: [b], [red]apple" in run("import", "p", tmp_path / "[x]", as_json=False)
    assert "[x]" in run("show", "p", as_json=False)
    assert "[x]" in run("export", "p", tmp_path / "out[x]", "--format", "csv", as_json=False)
