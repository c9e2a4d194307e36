"""MLflow: the only module that knows it.

One run a training with nested runs per trial; the winner is a registered model named like the project, and an alias
of a version is an MLflow alias as well.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow
import mlflow.pyfunc
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.utils import logging_utils
from sqlalchemy.exc import SQLAlchemyError

from tenshot.automl.training.document import environment
from tenshot.datasets.images import ImageStore
from tenshot.projects.errors import StoreError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tenshot.automl.training.run import Result
    from tenshot.automl.trials import Trial
    from tenshot.projects.records import DatasetVersion
    from tenshot.projects.workspace import Workspace

log = logging.getLogger("tenshot.tracking")

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.binary, "image")]),
    outputs=Schema([ColSpec(DataType.string, "labels"), ColSpec(DataType.double, "novelty", required=False)]),
)
MOST_TRIAL_RUNS = 50
"""Nested runs that are written, the best ones first; all trials are in the artifact `trials.json`."""
LONGEST_PARAM = 500


def record(workspace: Workspace, result: Result, dataset: DatasetVersion, directory: Path, report: Path | None) -> str:
    """Write the training's run and register its model; returns the run id. Raises StoreError."""
    _quiet()
    try:
        _configure(workspace)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to whoever wrote the model class, not to who trains
            return _record(workspace, result, dataset, directory, report)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreError(
            f"MLflow at {workspace.tracking_uri} took no record: {error}",
            hint="check tracking.uri and tracking.artifacts (`tenshot doctor`), then train again",
        ) from error


def set_alias(workspace: Workspace, project: str, alias: str, run_id: str | None) -> None:
    """Point MLflow's alias at the registered model of a run. Raises StoreError if it is not registered."""
    _quiet()
    _configure(workspace)
    client = MlflowClient()
    try:
        for version in client.search_model_versions(f"name = '{project}'"):
            if version.run_id == run_id:
                client.set_registered_model_alias(project, alias, version.version)
                return
    except MlflowException as error:
        raise StoreError(f"MLflow at {workspace.tracking_uri}: {error}") from error
    raise StoreError(
        f"MLflow knows no registered model of {project} from run {run_id}",
        hint="was the tracking database moved? see tracking.uri",
    )


def _configure(workspace: Workspace) -> None:
    uri = workspace.tracking_uri
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    if uri.startswith("sqlite:///"):
        folder = Path(uri.removeprefix("sqlite:///")).parent
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            MlflowClient().search_experiments(max_results=1)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """MLflow makes its tables when it is first used, and two workers that do so at once get in each other's way."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _experiment(workspace: Workspace, project: str) -> str:
    found = mlflow.get_experiment_by_name(project)
    if found is not None and found.lifecycle_stage == "active":
        return str(found.experiment_id)
    if found is not None:
        MlflowClient().restore_experiment(found.experiment_id)
        return str(found.experiment_id)
    location = workspace.tracking_artifacts / project
    location.mkdir(parents=True, exist_ok=True)
    return str(mlflow.create_experiment(project, artifact_location=location.as_uri()))


def _record(workspace: Workspace, result: Result, dataset: DatasetVersion, directory: Path, report: Path | None) -> str:
    manifest = result.manifest
    experiment = _experiment(workspace, manifest.project)
    training = f"{result.version.id}-{int(result.version.created_at * 1000)}"
    _forget(experiment, training)
    tags = {
        "tenshot.training": training,
        "tenshot.version": str(manifest.version),
        "tenshot.task": str(manifest.task),
        "tenshot.dataset_version": str(dataset.number),
        "tenshot.dataset_sha256": dataset.snapshot_sha256,
        "tenshot.base": manifest.base.name,
        "tenshot.licence": manifest.base.licence,
        "tenshot.measured_on": result.measured_on,
        "tenshot.unproven": ", ".join(result.evaluation.unproven) if result.evaluation else "",
        "tenshot.calibration": manifest.calibration.method,
        **{f"environment.{key}": str(value) for key, value in environment().items()},
    }
    with mlflow.start_run(experiment_id=experiment, run_name=f"version {manifest.version}", tags=tags) as run:
        mlflow.log_params({k: str(v)[:LONGEST_PARAM] for k, v in result.trained.params.items()})
        mlflow.log_metrics(_metrics(result))
        for series in result.trained.curves:
            _log_series(run.info.run_id, series.name, series.points)
        mlflow.log_dict({"trials": [t.to_json() for t in result.trained.trials]}, "trials.json")
        mlflow.log_dict(dict(manifest.thresholds), "thresholds.json")
        if report is not None:
            mlflow.log_artifact(str(report))
            _log_plots(result)
        for outcome in sorted((directory / "study").glob("*.npz")):
            mlflow.log_artifact(str(outcome), "outcomes")
        _log_trials(experiment, run.info.run_id, result.trained.trials)
        _register(workspace, result)
        return str(run.info.run_id)


def _forget(experiment: str, training: str) -> None:
    """Delete what this training recorded before it was killed and resumed: its run, the runs of its trials, and its
    registered model."""
    client = MlflowClient()
    for run in client.search_runs([experiment], f"tags.`tenshot.training` = '{training}'"):
        number = run.info.run_id
        for version in client.search_model_versions(f"run_id = '{number}'"):
            client.delete_model_version(version.name, version.version)
        while nested := client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{number}'"):
            for trial in nested:
                client.delete_run(trial.info.run_id)
        client.delete_run(number)


def _metrics(result: Result) -> dict[str, float]:
    found: dict[str, float] = {f"seconds.{name}": value for name, value in result.seconds.items()}
    for prefix, evaluation in (("oof", result.oof_evaluation), ("test", result.test_evaluation)):
        if evaluation is None:
            continue
        found |= {f"{prefix}.{name}": value for name, value in evaluation.metrics.items()}
        for name, (low, high) in evaluation.intervals.items():
            found |= {f"{prefix}.{name}.low": low, f"{prefix}.{name}.high": high}
    if result.manifest.parity is not None:
        found["export.parity"] = result.manifest.parity
    return found


def _log_series(run_id: str, name: str, points: list[tuple[float, float]]) -> None:
    key = f"curve.{name.replace(' ', '_')}"
    metrics = [Metric(key, value, 0, int(step)) for step, value in points]
    for start in range(0, len(metrics), 1000):  # MLflow's own limit of a batch
        MlflowClient().log_batch(run_id, metrics=metrics[start : start + 1000])


def _log_plots(result: Result) -> None:
    """The confusion matrix as a picture, where there is one: what people open first in MLflow's page."""
    evaluation = result.evaluation
    if evaluation is None or evaluation.confusion is None:
        return
    figure = confusion_figure(evaluation.confusion, result.manifest.labels)
    mlflow.log_figure(figure, "confusion.png")


def confusion_figure(confusion: list[list[int]], names: Sequence[str]) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    with mpl.rc_context({"text.parse_math": False}):  # a label with two dollar signs is no formula
        figure = Figure(figsize=(5, 5), layout="tight")
        axes = figure.subplots()
        axes.imshow(confusion, cmap="Blues")
        axes.set(xticks=range(len(names)), yticks=range(len(names)), xlabel="predicted", ylabel="truth")
        axes.set_xticklabels(names, rotation=60, ha="right")
        axes.set_yticklabels(names)
    return figure


def _log_trials(experiment: str, parent: str, trials: list[Trial]) -> None:
    client = MlflowClient()
    done = sorted((t for t in trials if t.value is not None), key=lambda t: -(t.value or 0.0))
    for trial in done[:MOST_TRIAL_RUNS]:
        run = client.create_run(
            experiment,
            start_time=int(trial.started_at * 1000) or None,
            run_name=f"{trial.kind} trial {trial.number}",
            tags={"mlflow.parentRunId": parent, "tenshot.kind": trial.kind},
        )
        client.log_batch(
            run.info.run_id,
            metrics=[Metric("objective", float(trial.value or 0.0), 0, 0), Metric("seconds", trial.seconds, 0, 0)],
            params=[Param(key, str(value)[:LONGEST_PARAM]) for key, value in trial.params.items()],
            tags=[RunTag("tenshot.state", trial.state)],
        )
        client.set_terminated(run.info.run_id, end_time=int((trial.started_at + trial.seconds) * 1000) or None)


def _register(workspace: Workspace, result: Result) -> None:
    manifest = result.manifest
    bundle = workspace.bundle_dir(manifest.project, manifest.version)
    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(Path(__file__).with_name("tracked_model.py")),
        artifacts={"bundle": str(bundle)},
        signature=SIGNATURE,
        input_example=_example(workspace, result),
        pip_requirements=["tenshot[serve]", "pandas"],
        registered_model_name=manifest.project,
        metadata={"licence": manifest.base.licence, "tenshot_version": manifest.version},
    )


def _example(workspace: Workspace, result: Result) -> Any:
    import pandas

    outcome = result.oof if result.oof is not None else result.test
    if outcome is None or not len(outcome):
        return None
    path = ImageStore(workspace.images).path(outcome.images[0])
    return pandas.DataFrame({"image": [path.read_bytes()]})


def _quiet() -> None:
    """MLflow and Alembic talk about every migration and every missing pin; none of it is for our users."""
    logging_utils.disable_logging()
    for name in ("mlflow", "alembic", "mlflow.utils.environment", "mlflow.models.model", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.ERROR)


def write_portable_model(directory: Path, loader: str, data: Path, code: Path, requirements: Sequence[str]) -> None:
    """An MLflow model in the empty or missing `directory` that needs no Tenshot: the module `loader`, whose file is
    `code`, loads it from a copy of the folder `data`. Raises StoreError."""
    _quiet()
    params = ParamSchema([ParamSpec("min_confidence", DataType.double, -1.0)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.pyfunc.save_model(
                str(directory),
                loader_module=loader,
                data_path=str(data),
                code_paths=[str(code)],
                signature=ModelSignature(SIGNATURE.inputs, SIGNATURE.outputs, params),
                pip_requirements=[f"mlflow=={mlflow.__version__}", *requirements],
            )
    except (MlflowException, OSError) as error:
        raise StoreError(f"MLflow could not write its model into {directory}: {error}") from error
