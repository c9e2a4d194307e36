"""What a training leaves behind for people and for the store: the report, and the version's details."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.automl.evaluation import calibration as calibrations
from tenshot.automl.evaluation.report import ReportInput, TrainingCurve, render
from tenshot.automl.scores import Calibration
from tenshot.datasets.images import ImageStore

if TYPE_CHECKING:
    from tenshot.automl.evaluation.evaluate import Evaluation
    from tenshot.automl.training.run import Result
    from tenshot.projects.records import DatasetVersion
    from tenshot.projects.workspace import Workspace

SHOWN_PACKAGES = (
    "tenshot",
    "torch",
    "pytorch-lightning",
    "ultralytics-opencv-headless",
    "optuna",
    "openvino",
    "mlflow",
)


def details(result: Result, run_id: str | None, seconds: float, names: Mapping[str, str]) -> dict[str, Any]:
    """The version's details in the store; JSON values. `seconds` is the whole training, `names`: image → file name."""
    evaluation = result.evaluation
    return {
        "labels": list(result.manifest.labels),
        "metrics": evaluation.metrics if evaluation else {},
        "intervals": {k: list(v) for k, v in evaluation.intervals.items()} if evaluation else {},
        "unproven": evaluation.unproven if evaluation else [],
        "primary": evaluation.primary if evaluation else None,
        "measured_on": result.measured_on,
        "images": evaluation.images if evaluation else 0,
        "out_of_fold": _out_of_fold(result.oof_evaluation),
        "thresholds": result.manifest.thresholds,
        "shortfalls": [missed.to_json() for missed in result.shortfalls],
        "calibration": _calibration(result),
        "trials": sum(t.value is not None for t in result.trained.trials),
        "params": result.trained.params,
        "seconds": seconds,
        "step_seconds": result.seconds,
        "parity": result.manifest.parity,
        "base": result.manifest.base.name,
        "licence": result.manifest.base.licence,
        "warnings": result.warnings,
        "review": result.review.to_json(names),
        "run_id": run_id,
    }


def _out_of_fold(evaluation: Evaluation | None) -> dict[str, Any]:
    """What cross-validation said, also where a test split has the last word."""
    if evaluation is None:
        return {"metrics": {}, "intervals": {}}
    return {"metrics": evaluation.metrics, "intervals": {k: list(v) for k, v in evaluation.intervals.items()}}


def _calibration(result: Result) -> dict[str, Any]:
    """What was done to the scores and what it changed, on the images that the version is measured on."""
    outcome, method = result.test or result.oof, result.manifest.calibration.method
    if outcome is None:
        return {"method": method}
    identity = Calibration(result.manifest.calibration.kind)
    before, after = (
        calibrations.quality(calibrations.apply_to(outcome, c)) for c in (identity, result.manifest.calibration)
    )
    return {"method": method, "before": before, "after": after}


def write_report(
    workspace: Workspace, result: Result, dataset: DatasetVersion, names: Mapping[str, str], path: Path
) -> Path | None:
    """The HTML report, or None if nothing was measured (no image could be held out and there is no test split)."""
    if result.oof_evaluation is None and result.test_evaluation is None:
        return None
    report = ReportInput(
        project=result.manifest.project,
        version=result.version.ref,
        task=result.manifest.task,
        created_at=result.manifest.created_at,
        labels=result.manifest.labels,
        dataset_version=dataset.number,
        dataset_stats=dataset.stats,
        oof=result.oof,
        oof_evaluation=result.oof_evaluation,
        thresholds=result.manifest.thresholds,
        calibration=result.manifest.calibration,
        base=result.manifest.base,
        load_image=ImageStore(workspace.images).load,
        test=result.test,
        test_evaluation=result.test_evaluation,
        curves=[TrainingCurve(s.name, s.points, panel=s.name) for s in result.trained.curves],
        trials=result.trained.trials,
        objective=result.trained.objective,
        timings=result.seconds,
        parity=result.manifest.parity,
        warnings=result.warnings,
        shortfalls=result.shortfalls,
        review=result.review,
        environment=environment(),
        names=names,
    )
    return render(report, path)


def environment() -> dict[str, Any]:
    """What a result depends on besides the data."""
    found: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for package in SHOWN_PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if commit := git_commit():
        found["git commit"] = commit
    return found


def git_commit() -> str | None:
    """Of the working directory, where a data scientist keeps their own notes and configuration; None outside git."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
