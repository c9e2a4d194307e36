"""What a training leaves behind, and the verbs about versions: store, bundle, report, MLflow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenshot.automl.bundle import read_manifest, verify, write_manifest
from tenshot.automl.evaluation import outcomes
from tenshot.automl.predictor import RUNTIMES, Predictor
from tenshot.projects.errors import BundleError
from tenshot.projects.status import VersionStatus
from tenshot.projects.workspace import Workspace

pytestmark = pytest.mark.slow


def test_details(discs: Workspace) -> None:
    version = discs.store.version("discs", 1)
    found = version.details
    assert version.status is VersionStatus.TRAINING_COMPLETED
    assert found["labels"] == ["blue", "red"]
    assert found["measured_on"] == "test split"
    assert found["images"] == 10
    assert found["metrics"][found["primary"]] >= 0.9
    assert set(found["intervals"]) <= set(found["metrics"])
    assert all(0 < found["thresholds"][name] < 1 for name in found["labels"])
    assert found["parity"] < 1e-3
    assert found["trials"] >= 1
    licences = {"efficientnet_lite2": "Apache-2.0", "mobilenet_v2": "BSD-3-Clause"}
    assert found["licence"] == " and ".join(licences[name] for name in found["base"].split("+"))
    assert {"data", "search", "export", "evaluation", "report", "tracking"} == set(found["step_seconds"])
    assert found["seconds"] == pytest.approx(sum(found["step_seconds"].values()))
    assert not any("very few" in w for w in found["warnings"])


def test_files(discs: Workspace) -> None:
    folder = discs.version_dir("discs", 1)
    manifest = read_manifest(folder / "bundle")
    verify(folder / "bundle", manifest)
    assert set(manifest.files) == {"model.onnx", "model.xml", "model.bin", "card.md", "LICENSE.txt", "novelty.npz"}
    assert (manifest.project, manifest.version, manifest.dataset_version) == ("discs", 1, 1)
    assert manifest.dataset_sha256 == discs.store.dataset_version("discs").snapshot_sha256
    assert manifest.parity == discs.store.version("discs", 1).details["parity"]
    assert {p.name for p in folder.iterdir()} == {"bundle", "study", "report.html"}
    assert {"journal.log", "oof.npz", "test.npz"} <= {p.name for p in (folder / "study").iterdir()}
    card = (folder / "bundle" / "card.md").read_text("utf-8")
    assert manifest.base.licence in card
    assert manifest.dataset_sha256 in card


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_bundle_answers(discs: Workspace, draw: Callable[..., np.ndarray], runtime: str) -> None:
    predictor = Predictor.load(discs.bundle_dir("discs", 1), runtime=runtime)
    images = [draw(5000 + k, "red" if k % 2 else "blue", side=60 + 5 * k) for k in range(8)]
    best = [found[0].name for found in predictor.predict(images, min_confidence=0, max_results=1)]
    assert sum(name == ("red" if k % 2 else "blue") for k, name in enumerate(best)) >= 7
    other = Predictor.load(discs.bundle_dir("discs", 1)).scores(images)
    np.testing.assert_allclose(predictor.scores(images), other, atol=1e-3)


def test_something_else_gets_low_confidence_for_every_label(discs: Workspace, draw: Callable[..., np.ndarray]) -> None:
    predictor = Predictor.load(discs.bundle_dir("discs", 1))
    random = np.random.default_rng(0)
    stripes = np.zeros((80, 80, 3), np.uint8)
    stripes[:, ::8] = 255
    others = [random.integers(0, 256, (80, 80, 3)).astype(np.uint8), stripes, np.zeros((80, 80, 3), np.uint8)]
    same = [draw(8000 + k, "red" if k % 2 else "blue") for k in range(20)]
    assert predictor.scores(others).max() < 0.3
    assert predictor.predict(others) == [[], [], []]
    novelty = predictor.novelties(predictor.look(same))
    assert novelty is not None
    assert (novelty < 0.1).mean() >= 0.8
    answer = predictor.answer(predictor.look(others)[0], (80, 80))
    assert answer["labels"] == []
    assert answer["novelty"] > 0.7


def test_measured_is_what_is_served(discs: Workspace) -> None:
    """The outcomes that the metrics come from hold the scores after novelty took its share."""
    manifest = read_manifest(discs.bundle_dir("discs", 1))
    for name in ("oof", "test"):
        found = outcomes.load(discs.version_dir("discs", 1) / "study" / f"{name}.npz")
        assert isinstance(found, outcomes.ClassificationOutcome)
        assert found.novelty is not None
        assert ((found.novelty >= 0) & (found.novelty < 1)).all()
        plain = manifest.calibration.apply(found.raw)
        np.testing.assert_allclose(found.scores, plain * (1 - found.novelty)[:, None], atol=1e-6)
    report = (discs.version_dir("discs", 1) / "report.html").read_text("utf-8")
    assert "Unlike the training images" in report


def test_a_bundle_from_before_answers_as_it_did(discs: Workspace, tmp_path: Path) -> None:
    """Without a novelty nothing is taken away; the file may be missing only if the manifest does not name it."""
    bundle = tmp_path / "bundle"
    shutil.copytree(discs.bundle_dir("discs", 1), bundle)
    (bundle / "novelty.npz").unlink()
    with pytest.raises(BundleError, match=r"novelty\.npz is missing"):
        Predictor.load(bundle)
    write_manifest(bundle, read_manifest(bundle))
    predictor = Predictor.load(bundle)
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3)).astype(np.uint8)
    assert predictor.scores([noise]).sum() == pytest.approx(1.0)
    assert set(predictor.answer(predictor.look([noise])[0], (80, 80))) == {"labels"}


def test_versions(discs: Workspace, ask: Any) -> None:
    status, found = ask("versions", "discs")
    assert status == 0
    assert [(r["version"], r["status"], r["measured_on"]) for r in found["versions"]] == [
        (2, "TRAINING_COMPLETED", "test split"),
        (1, "TRAINING_COMPLETED", "test split"),
    ]
    assert all(r["interval"][0] <= r["value"] <= r["interval"][1] for r in found["versions"])


def test_report(discs: Workspace, ask: Any) -> None:
    status, found = ask("report", "discs@1")
    assert status == 0
    assert "discs@1" in Path(found["path"]).read_text("utf-8")


def test_compare(discs: Workspace, ask: Any) -> None:
    status, found = ask("compare", "discs@1", "discs@2")
    assert status == 0
    assert (found["measured_on"], found["images"]) == ("test split", 10)
    assert found["difference"] == pytest.approx(found["a"] - found["b"])
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    _, same = ask("compare", "discs@1", "discs@1")
    assert (same["difference"], same["better"]) == (0, None)


def test_alias(discs: Workspace, ask: Any) -> None:
    import mlflow

    for ref in ("discs@2", "discs@1"):
        status, found = ask("alias", ref, "champion")
        assert (status, found) == (0, {"project": "discs", "version": int(ref[-1]), "alias": "champion"})
        assert discs.resolve("discs@champion").ref == ref
        tracked = mlflow.MlflowClient(discs.tracking_uri).get_model_version_by_alias("discs", "champion")
        assert tracked.run_id == discs.resolve(ref).details["run_id"]
    _, listed = ask("versions", "discs")
    assert [r["aliases"] for r in listed["versions"]] == [[], ["champion"]]


@pytest.mark.parametrize(
    ("argv", "status", "code"),
    [
        pytest.param(["alias", "discs@1", "7"], 2, "UsageError", id="a number is no alias"),
        pytest.param(["alias", "discs@1", "a b"], 2, "UsageError", id="a space in an alias"),
        pytest.param(["alias", "discs@9", "x"], 1, "VersionNotFound", id="no such version"),
        pytest.param(["report", "discs@nobody"], 1, "VersionNotFound", id="no such alias"),
        pytest.param(["compare", "discs@1", "disks@1"], 1, "ProjectNotFound", id="no such project"),
        pytest.param(["versions", "disks"], 1, "ProjectNotFound", id="versions of nothing"),
        pytest.param(["train", "disks"], 1, "ProjectNotFound", id="train nothing"),
        pytest.param(["train", "discs", "--resume"], 1, "JobNotFound", id="nothing to resume"),
        pytest.param(["train", "discs", "--trials", "0"], 2, "UsageError", id="no trials"),
        pytest.param(["train", "discs", "--budget", "soon"], 2, "UsageError", id="no duration"),
    ],
)
def test_wrong(discs: Workspace, ask: Any, argv: list[str], status: int, code: str) -> None:
    found, document = ask(*argv)
    assert (document["error"]["code"], found) == (code, status)
    assert len(discs.store.versions("discs")) == 2


def test_evaluate(discs: Workspace, ask: Any, folders: Callable[..., Path], tmp_path: Path) -> None:
    data = folders(tmp_path / "fresh", 4, first_seed=7000, colours=("red", "blue", "green"))
    (data / "red" / "broken.png").write_bytes(b"not an image")
    status, found = ask("evaluate", "discs@1", str(data))
    assert status == 0
    assert found["images"] == 8, "green is no answer that the version could give"
    assert found["metrics"][found["primary"]] >= 0.85
    assert found["unknown_labels"] == ["green"]
    assert found["refused_count"] == 1
    assert "broken.png" in json.dumps(found["refused"])


def test_evaluate_on_nothing(discs: Workspace, ask: Any, folders: Callable[..., Path], tmp_path: Path) -> None:
    data = folders(tmp_path / "green", 2, colours=("green",))
    status, found = ask("evaluate", "discs@1", str(data))
    assert (status, found["error"]["code"]) == (1, "EmptyDataError")


def test_run(discs: Workspace) -> None:
    import mlflow

    details = discs.store.version("discs", 1).details
    client = mlflow.MlflowClient(discs.tracking_uri)
    run = client.get_run(details["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["export.parity"] == details["parity"]
    for name, value in details["metrics"].items():
        assert run.data.metrics[f"test.{name}"] == pytest.approx(value)
    assert run.data.tags["tenshot.dataset_version"] == "1"
    assert run.data.params["head"] == str(details["params"]["head"])
    trials = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'", max_results=100
    )
    assert len(trials) == details["trials"]
    assert all(t.info.status == "FINISHED" for t in trials)
    assert "report.html" in {f.path for f in client.list_artifacts(run.info.run_id)}


def test_registered_model_predicts(discs: Workspace, draw: Callable[..., np.ndarray]) -> None:
    import io

    import mlflow
    import pandas
    from PIL import Image

    mlflow.set_tracking_uri(discs.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/discs/1")
    images = [draw(6000 + k, "red" if k % 2 else "blue") for k in range(4)]
    files = []
    for image in images:
        out = io.BytesIO()
        Image.fromarray(image).save(out, "PNG")
        files.append(out.getvalue())
    told = model.predict(pandas.DataFrame({"image": files}))
    predictor = Predictor.load(discs.bundle_dir("discs", 1))
    assert [json.loads(text) for text in told["labels"]] == [
        [p.to_json() for p in found] for found in predictor.predict(images)
    ]
    np.testing.assert_allclose(told["novelty"], predictor.novelties(predictor.look(images)), atol=1e-4)
