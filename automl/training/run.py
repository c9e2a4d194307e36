"""One training from first to last: data, search, bundle, evaluation, tracking, report.

Runs inside a job (projects/jobs.py), which gives the heartbeat and the cancelling. Whatever happens, the version ends
as TRAINING_COMPLETED with a finished bundle, or together with its job as TRAINING_FAILED with the reason.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np

from tenshot.automl.base import adopted
from tenshot.automl.bundle import Base, Manifest, write_manifest
from tenshot.automl.evaluation import calibration as calibrations
from tenshot.automl.evaluation import outcomes, thresholds
from tenshot.automl.evaluation.evaluate import Evaluation, evaluate
from tenshot.automl.evaluation.full_set import reaching
from tenshot.automl.evaluation.outcomes import ClassificationOutcome, DetectionOutcome, Outcome
from tenshot.automl.evaluation.review import Review
from tenshot.automl.evaluation.thresholds import Shortfall
from tenshot.automl.outcome import observe, parity, parity_of_second
from tenshot.automl.predictor import Predictor
from tenshot.automl.scores import Calibration
from tenshot.automl.search.budget import Budget, slowness
from tenshot.automl.training import card, familiar, scarcity
from tenshot.automl.training.assigned import assigned, dataset_of, training_entries
from tenshot.automl.training.learn import LEARNERS, Progress
from tenshot.automl.training.options import Options
from tenshot.automl.training.reviewing import review
from tenshot.automl.training.steps import Stopwatch
from tenshot.automl.training.trained import Trained
from tenshot.automl.usual import Usual, of_boxes
from tenshot.datasets import snapshots
from tenshot.datasets.images import ImageStore
from tenshot.projects import clock
from tenshot.projects.errors import EmptyDataError, TrainingError
from tenshot.projects.status import Task, VersionStatus

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import BaseModelRow
    from tenshot.datasets.annotations import Entry
    from tenshot.projects.jobs import JobContext
    from tenshot.projects.records import DatasetVersion, ModelVersion

FEWEST = 2
ADVISED = 10
PARITY_IMAGES = 16
PARITY_LIMIT = 1e-3
FINISHING_S = 12.0
"""Export, parity, tracking and report, measured on two cores with nothing else to do; looks at images come on top."""
SECONDS_PER_IMAGE = {Task.CLASSIFICATION: 0.05, Task.MULTILABEL: 0.05, Task.DETECTION: 0.2}
"""A detector's boxes may get a second look."""
MOST_OF_BUDGET = 0.5
"""Largest share that is kept for finishing: a small budget is still one for a search."""


@dataclass(frozen=True)
class Result:
    version: ModelVersion
    trained: Trained
    manifest: Manifest
    oof: Outcome | None
    oof_evaluation: Evaluation | None
    test: Outcome | None
    test_evaluation: Evaluation | None
    seconds: dict[str, float]
    warnings: list[str]
    review: Review
    shortfalls: list[Shortfall]
    """Labels whose thresholds miss the precision or recall that was asked for."""

    @property
    def evaluation(self) -> Evaluation | None:
        """What the version is judged by: the test split if there is one, else the out-of-fold scores."""
        return self.test_evaluation or self.oof_evaluation

    @property
    def measured_on(self) -> str:
        if self.test_evaluation:
            return "test split"
        return "out-of-fold scores of the training images" if self.oof_evaluation else "nothing"


def train(context: JobContext, show: Progress) -> None:
    """The handler of a `train` job. `show` gets the progress for people."""
    run = _Run(context, show)
    details = run.details()
    context.check()  # whoever took this job over has the last word
    store = context.workspace.store
    store.set_version_details(run.project.name, run.number, details)
    store.advance_version(run.project.name, run.number, VersionStatus.TRAINING_COMPLETED, at=clock.now())


class _Run:
    def __init__(self, context: JobContext, show: Progress) -> None:
        if context.job.version is None:
            raise TrainingError(f"job {context.job.id} names no version to train")
        self.number = context.job.version
        self.context = context
        self.workspace = context.workspace
        self.options = Options.from_payload(context.job.payload)
        self.project = self.workspace.store.project(context.job.project)
        self.show = show
        self.watch = Stopwatch()
        self.images = ImageStore(self.workspace.images)
        self.directory = self.workspace.version_dir(self.project.name, self.number)
        self.warnings: list[str] = []

    def details(self) -> dict[str, Any]:
        """Do it all; returns what the store keeps of it."""
        started = Budget.start(self.options.budget_s)
        with self.watch.step("data"):
            dataset = dataset_of(self.workspace, self.context.job)
            train = training_entries(self.workspace, dataset)
            test = [e for e in snapshots.entries(self.workspace, dataset, split="test") if e.labeled]
            self._check_amount(train)
        with self.watch.step("search"):
            trained = self._learn(train, started, len(test) + min(len(train), familiar.MOST_ROWS))
        result = self._finish(dataset, trained, train, test)
        return self._publish(result, dataset, {e.image: e.name for e in [*train, *test]})

    # Search -------------------------------------------------------------------------------------------------------

    def _check_amount(self, train: list[Entry]) -> None:
        if len(train) < FEWEST:
            raise EmptyDataError(
                f"{self.project.name} has {len(train)} labeled training images; at least {FEWEST} are needed",
                hint=f"tenshot dataset import {self.project.name} PATH",
            )
        if len(train) < ADVISED:
            self.warnings.append(f"{len(train)} training images are very few; ten or more are advised")

    def _learn(self, train: list[Entry], started: Budget, looked_at: int) -> Trained:
        """`looked_at`: images that the finished network must be shown."""
        alone, cpu = FINISHING_S + SECONDS_PER_IMAGE[self.project.task] * looked_at, process_time()

        def reserve() -> float:
            return min(alone * slowness(started.spent, process_time() - cpu), MOST_OF_BUDGET * started.seconds)

        job = assigned(
            self.workspace, self.context.job, train,
            budget=replace(started, reserve=reserve), progress=self._progress, check=self.context.check,
        )  # fmt: skip
        self.groups = job.groups
        self.warnings += scarcity.warnings_of(train, job.groups)
        trained = LEARNERS.get(str(self.project.task))(job)
        self.warnings += trained.warnings
        return trained

    def _progress(self, values: Mapping[str, Any]) -> None:
        self.context.progress(dict(values))
        self.show(values)

    # Bundle and evaluation ----------------------------------------------------------------------------------------

    def _finish(self, dataset: DatasetVersion, trained: Trained, train: list[Entry], test: list[Entry]) -> Result:
        scaling = calibrations.fit(trained.oof) if trained.oof else _uncalibrated(self.project.task)
        oof = calibrations.apply_to(trained.oof, scaling) if trained.oof else None
        limits, missed = self._thresholds(oof) if oof else (thresholds.unproven(trained.labels, self.project.task), [])
        with self.watch.step("export"):
            self._progress({"stage": "export"})
            manifest, predictor, own = self._export(dataset, trained, scaling, limits, train)
            oof = _as_served(oof, own)
        with self.watch.step("evaluation"):
            self._progress({"stage": "evaluation"})
            known = [e for e in test if self._judges(e, trained.labels)]
            if len(known) < len(test):
                self.warnings.append(f"{len(test) - len(known)} test images carry only labels that training lacks")
            seen = observe(predictor, self._labeled(known), self.context.check) if known else None
            oof_evaluation = reaching(evaluate(oof, limits), trained.oof_share) if oof else None
            seen_evaluation = evaluate(seen, limits) if seen else None
            looked = review(self.workspace, trained, oof, train, test)
        for name, outcome in (("oof", oof), ("test", seen)):
            path = self.directory / "study" / f"{name}.npz"
            if outcome is not None:
                outcomes.save(outcome, path)
            else:
                path.unlink(missing_ok=True)  # of an attempt that was killed
        version = self.workspace.store.version(self.project.name, self.number)
        return Result(
            version, trained, manifest, oof, oof_evaluation, seen, seen_evaluation, self.watch.seconds, self.warnings,
            looked, missed,
        )  # fmt: skip

    def _thresholds(self, oof: Outcome) -> tuple[dict[str, float], list[Shortfall]]:
        wanted = {"min_precision": self.options.min_precision, "min_recall": self.options.min_recall}
        limits = thresholds.choose(oof, **wanted)
        missed = thresholds.shortfalls(oof, limits, **wanted)
        self.warnings += thresholds.warnings_of(missed)
        return limits, missed

    def _judges(self, entry: Entry, labels: tuple[str, ...]) -> bool:
        """A single-label image whose label the model does not know has no right answer."""
        return self.project.task is not Task.CLASSIFICATION or any(name in labels for name in entry.labels)

    def _labeled(self, entries: list[Entry]) -> Any:
        return ((e.image, self.images.load(e.image), e.labels, e.boxes) for e in entries)

    def _export(
        self, dataset: DatasetVersion, trained: Trained, scaling: Calibration, limits: dict[str, float],
        train: list[Entry],
    ) -> tuple[Manifest, Predictor, Mapping[str, float]]:  # fmt: skip
        """The last: image → its novelty among the other training images, where that is known."""
        bundle = self.workspace.bundle_dir(self.project.name, self.number)
        partial = bundle.with_name("bundle.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        trained.export(partial)
        rows = [adopted.row(self.workspace, name) for name in trained.base.split("+")]
        self.warnings += [note for note in map(adopted.warning, rows) if note]
        manifest = Manifest(
            project=self.project.name, version=self.number, task=self.project.task, labels=trained.labels,
            thresholds=limits, calibration=scaling, input=trained.input, suppression=trained.suppression,
            base=_grown_from(rows), dataset_version=dataset.number,
            dataset_sha256=dataset.snapshot_sha256, created_at=clock.now(), seed=self.options.seed,
            details={"params": trained.params},
        )  # fmt: skip
        manifest = write_manifest(partial, manifest)
        predictor = Predictor.load(partial, check=False)
        known = self._familiar(predictor, train)
        novelty = known.novelty if known else None
        if novelty:
            novelty.save(partial)
        if usual := _usual(trained, scaling, limits):
            usual.save(partial)
        samples = [self.images.load(e.image) for e in train[:PARITY_IMAGES]]
        difference = parity(manifest, predictor.network, trained.network, samples, novelty)
        if trained.second and predictor.second:
            difference = float(np.maximum(difference, parity_of_second(predictor.second, trained.second, samples)))
        if not difference <= PARITY_LIMIT:  # NaN is not, either
            raise TrainingError(
                f"the exported network differs from the trained one by {difference:.2g} (limit {PARITY_LIMIT})",
                hint="please report this with the versions that `tenshot doctor` prints",
            )
        card.write(partial, manifest, difference, abstains=novelty is not None)
        manifest = write_manifest(partial, _with_parity(manifest, difference))
        shutil.rmtree(bundle, ignore_errors=True)
        partial.replace(bundle)
        return manifest, Predictor(manifest, predictor.network, novelty, predictor.second), known.own if known else {}

    def _familiar(self, predictor: Predictor, train: list[Entry]) -> familiar.Familiar | None:
        if self.project.task is Task.DETECTION:
            return None
        found = familiar.learn(
            predictor, train, self.groups, self.images.load, seed=self.options.seed, check=self.context.check
        )
        if found is None:
            self.warnings.append("it cannot be told what is unlike the training images: they give nothing to compare")
        return found

    # Record -------------------------------------------------------------------------------------------------------

    def _publish(self, result: Result, dataset: DatasetVersion, names: dict[str, str]) -> dict[str, Any]:
        from tenshot.automl import tracking
        from tenshot.automl.training import document

        with self.watch.step("report"):
            self._progress({"stage": "report"})
            report = document.write_report(self.workspace, result, dataset, names, self.directory / "report.html")
        with self.watch.step("tracking"):
            self._progress({"stage": "tracking"})
            run = tracking.record(self.workspace, result, dataset, self.directory, report)
        return document.details(result, run, sum(self.watch.seconds.values()), names)


def _usual(trained: Trained, scaling: Calibration, limits: Mapping[str, float]) -> Usual | None:
    """What a detector's drift is told from; a classifier's novelty tells it."""
    held_out = calibrations.apply_to(trained.oof, scaling) if trained.oof else None
    if not isinstance(held_out, DetectionOutcome):
        return None
    return of_boxes(held_out.predictions, np.array([limits[name] for name in trained.labels]))


def _as_served(oof: Outcome | None, own: Mapping[str, float]) -> Outcome | None:
    """Out-of-fold scores less what the served version takes from images that are unlike all others. Thresholds are
    chosen before: one odd image of a label must not pull its threshold down to what odd images get."""
    if not own or not isinstance(oof, ClassificationOutcome):
        return oof
    return oof.judged(oof.scores, np.array([own.get(image, 0.0) for image in oof.images]))


def _with_parity(manifest: Manifest, difference: float) -> Manifest:
    return replace(manifest, parity=difference)


def _grown_from(rows: list[BaseModelRow]) -> Base:
    """One for all, where several see the image together."""
    licences = " and ".join(dict.fromkeys(row.licence for row in rows))
    sources = " and ".join(row.source.text for row in rows)
    return Base("+".join(row.name for row in rows), "+".join(row.sha256 for row in rows), licences, sources)


def _uncalibrated(task: Task) -> Calibration:
    kinds = {Task.CLASSIFICATION: "softmax", Task.MULTILABEL: "sigmoid", Task.DETECTION: "platt"}
    return Calibration(kinds[task])  # type: ignore[arg-type]
