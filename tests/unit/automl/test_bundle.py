from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenshot.automl.bundle import Base, Input, Manifest, Suppression, read_manifest, verify, write_manifest
from tenshot.automl.scores import Calibration
from tenshot.projects.errors import BundleError
from tenshot.projects.status import Task

PLAIN = Manifest(
    project="solar",
    version=3,
    task=Task.CLASSIFICATION,
    labels=("gut", "Kratzer groß"),
    thresholds={"gut": 0.5, "Kratzer groß": 0.25},
    calibration=Calibration("softmax", temperature=1.5),
    input=Input(224, 192, "stretch", mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 3.0)),
    base=Base("mobilenet_v2", "0" * 64, "BSD-3-Clause", "pip x 1: y"),
    dataset_version=2,
    dataset_sha256="1" * 64,
    created_at=1_700_000_000.25,
    seed=7,
    parity=1e-6,
    details={"params": {"head": "ridge", "strength": 0.1}},
)
DETECTION = replace(
    PLAIN,
    task=Task.DETECTION,
    calibration=Calibration("platt", slope=2.0, intercept=-1.0),
    suppression=Suppression(iou=0.4, class_agnostic=True, max_detections=10, min_score=0.01),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    (tmp_path / "card.md").write_text("# card")
    write_manifest(tmp_path, PLAIN)
    return tmp_path


def document(directory: Path, **changes: Any) -> None:
    found = json.loads((directory / "bundle.json").read_text("utf-8")) | changes
    (directory / "bundle.json").write_text(json.dumps(found), "utf-8")


@pytest.mark.parametrize("manifest", [pytest.param(PLAIN, id="classifier"), pytest.param(DETECTION, id="detector")])
def test_round_trip(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    written = write_manifest(tmp_path, manifest)
    assert set(written.files) == {"model.onnx"}
    assert read_manifest(tmp_path) == written
    assert replace(written, files={}) == manifest
    verify(tmp_path, written)


def test_reading_leaves_the_document_alone() -> None:
    shown = json.loads(json.dumps(PLAIN.to_json()))
    assert Manifest.from_json(shown) == Manifest.from_json(shown) == PLAIN


def test_written_again_does_not_list_itself(directory: Path) -> None:
    assert set(write_manifest(directory, PLAIN).files) == {"model.onnx", "card.md"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"format": 2}, "bundle format 2; this Tenshot reads format 1", id="newer"),
        pytest.param({"format": None}, "bundle format None", id="no format"),
        pytest.param({"task": "poetry"}, "is damaged: 'poetry'", id="task"),
        pytest.param({"colour": "red"}, "is damaged: .*colour", id="unknown key"),
        pytest.param({"calibration": {"kind": "magic"}}, "unknown calibration 'magic'", id="calibration"),
        pytest.param({"calibration": "softmax"}, "is damaged", id="calibration of another type"),
        pytest.param({"input": None}, "is damaged", id="no input"),
    ],
)
def test_refused(directory: Path, changes: dict[str, Any], message: str) -> None:
    document(directory, **changes)
    with pytest.raises(BundleError, match=message):
        read_manifest(directory)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', "null", "\x00"], ids=repr)
def test_not_a_manifest(directory: Path, text: str) -> None:
    (directory / "bundle.json").write_text(text)
    with pytest.raises(BundleError, match="is damaged") as caught:
        read_manifest(directory)
    assert caught.value.hint == "train again"


def test_unfinished(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"holds no bundle\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        pytest.param("model.onnx", b"onnX", r"model\.onnx is damaged: sha256", id="one byte"),
        pytest.param("card.md", None, r"card\.md is missing", id="missing"),
    ],
)
def test_verify(directory: Path, name: str, data: bytes | None, message: str) -> None:
    manifest = read_manifest(directory)
    (directory / name).unlink() if data is None else (directory / name).write_bytes(data)
    with pytest.raises(BundleError, match=message):
        verify(directory, manifest)
