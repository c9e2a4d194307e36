"""Every row of EXPORTS: written, asked where Tenshot cannot be imported, compared, put in place whole."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
from dataclasses import replace

import pytest
from fixtures_exports import BUNDLES
from fixtures_serving import trained

from tenshot.automl.bundle import read_manifest, write_manifest
from tenshot.projects.status import Task
from tenshot.serving.exporting.form import Options
from tenshot.serving.exporting.run import export
from tenshot.serving.exports import EXPORTS
from tenshot.serving.exports.docker import COMMAND

KINDS = {
    "bento": "classifier-novelty",
    "docker": "detector-second-look",
    "onnx": "detector-second-look",
    "openvino": "multilabel-novelty-calibrated",
    "mlflow": "classifier-novelty",
    "k8s": "classifier-crop-calibrated",
}
IMPORTS = re.compile(r"^\s*(from|import)\s+tenshot\b", re.MULTILINE)
PINNED = re.compile(r"[A-Za-z0-9._-]+==[^ ]+")
HEAVY = ("torch", "torchvision", "ultralytics", "optuna", "pytorch-lightning", "tenshot")

pytestmark = pytest.mark.slow


def a_version(workspace, kind):
    """A trained version whose bundle is of that kind."""
    detects = kind.startswith("detector")
    ref = trained(workspace, task=Task.DETECTION if detects else Task.CLASSIFICATION)
    bundle = workspace.bundle_dir("colours", 1)
    shutil.rmtree(bundle)
    BUNDLES[kind](bundle)
    write_manifest(bundle, replace(read_manifest(bundle), project="colours"))
    return ref


def test_every_row_has_its_case():
    assert set(KINDS) == set(EXPORTS)


@pytest.mark.parametrize("name", list(KINDS))
def test_export(workspace, tmp_path, name):
    ref = a_version(workspace, KINDS[name])
    seen = []
    made = export(
        workspace,
        ref,
        name,
        tmp_path / "out" / name,
        options=Options(keda=name == "k8s"),
        seen=lambda what, done, of: seen.append(what),
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert made.parity.labels >= made.parity.images > 10
    assert made.parity.confidence < 0.01
    assert seen
    check_folder(made.folder, read_manifest(workspace.bundle_dir("colours", 1)))
    if name == "bento":
        with tarfile.open(made.folder / "colours-1.bento") as archive:
            packed = {member.removeprefix("./") for member in archive.getnames()}
        assert packed >= {"bento.yaml", "src/predict.py", "src/card.json", "src/model.xml"}
    if name == "docker":
        check_dockerfile((made.folder / "Dockerfile").read_text("utf-8"))


def check_dockerfile(text):
    steps = [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line and line[0] != "#"]
    assert [step for step, _ in steps] == [
        "FROM",
        "ENV",
        "WORKDIR",
        "COPY",
        "RUN",
        "COPY",
        "USER",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "CMD",
    ]
    last = dict(steps)
    assert last["USER"].partition(":")[0] not in ("root", "0")
    assert json.loads(last["CMD"]) == list(COMMAND)


def check_folder(folder, manifest):
    card = json.loads((folder / "card.json").read_text("utf-8"))
    assert (card["model"], card["labels"]) == ("colours@1", list(manifest.labels))
    assert card["thresholds"] == manifest.thresholds
    assert card["licence"]["network"] == manifest.base.licence
    assert card["data"] == {"version": 1, "sha256": manifest.dataset_sha256}
    assert card["parity"]["images"] > 10
    for file, sha256 in card["files"].items():
        assert hashlib.sha256((folder / file).read_bytes()).hexdigest() == sha256, file
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(card["files"]) == there - {"card.json"}
    readme = (folder / "README.md").read_text("utf-8")
    assert len(card["run"]) <= 3
    assert all(line in readme for line in card["run"])
    assert [path for path in folder.rglob("*.py") if IMPORTS.search(path.read_text("utf-8"))] == []
    requirements = next(folder.rglob("requirements.txt")).read_text("utf-8").split("\n")
    required = [line for line in requirements if line.strip() and not line.startswith("#")]
    assert all(PINNED.fullmatch(line) for line in required)
    assert not {line.partition("==")[0] for line in required} & set(HEAVY)
    # The predictor's own card lies beside it and says the same.
    (predictor,) = folder.rglob("predict.py")
    beside = json.loads(predictor.with_name("card.json").read_text("utf-8"))
    assert beside["parity"] == card["parity"]
