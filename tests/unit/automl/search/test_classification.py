"""The search for classifiers on small generated pictures, from features to an exported network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tenshot.automl.bundle import Base, Manifest
from tenshot.automl.features import Picture
from tenshot.automl.outcome import parity
from tenshot.automl.predictor import RUNTIMES, prepare
from tenshot.automl.scores import Calibration
from tenshot.automl.search import judging
from tenshot.automl.search.budget import Budget
from tenshot.automl.search.classification import Search, search
from tenshot.automl.search.frozen import Learning
from tenshot.automl.search.judging import cheapest_of_the_best, clearly_better, score
from tenshot.automl.search.space import Space
from tenshot.automl.training.trained import Trained
from tenshot.projects.errors import JobCancelled, TrainingError
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace

Draw = Callable[..., np.ndarray]
FROZEN = Space(
    "frozen",
    {
        "backbone": ["mobilenet_v2"],
        "taps": ["3+5+7", "7"],
        "policy": ["hflip"],
        "head": ["logistic", "ridge"],
        "strength": [0.1, 10.0],
        "standardise": [True],
    },
    {"backbone": "mobilenet_v2", "taps": "3+5+7", "policy": "hflip", "head": "logistic", "strength": 1.0,
     "standardise": True},
)  # fmt: skip
FINETUNE = Space(
    "finetune",
    {
        "start": [6], "size": [64, 96], "steps": [10, 20], "lr": [1e-5, 1e-3], "decay": [1.0],
        "head": ["fitted", "zero"],
        "flip": ["none", "horizontal"], "colour": [False], "amount": [1.0], "smoothing": [0.0, 0.1],
        "mixup": [0.0, 0.2],
        "ema": [False, True],
    },
    {
        "start": 6, "size": 96, "steps": 20, "lr": 1e-5, "decay": 1.0, "head": "fitted", "flip": "none",
        "colour": False, "amount": 1.0, "smoothing": 0.0, "mixup": 0.0, "ema": False,
    },
)  # fmt: skip


def data(draw: Draw, rows: list[tuple[str, ...]], labels: tuple[str, ...], *, exclusive: bool) -> Learning:
    images = [draw(300 + k, *row) for k, row in enumerate(rows)]
    names = [f"{'-'.join(row) or 'none'}-{k}" for k, row in enumerate(rows)]
    return Learning(
        pictures=[Picture(name, lambda image=image: image) for name, image in zip(names, images, strict=True)],
        truth=np.array([[label in row for label in labels] for row in rows], bool),
        labels=labels,
        exclusive=exclusive,
        groups=list(range(len(rows))),
    )


@pytest.fixture
def discs(draw: Draw) -> Learning:
    return data(draw, [("red",), ("blue",)] * 6, ("blue", "red"), exclusive=True)


def options(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    usual = {
        "task": "classification", "budget": Budget.start(20.0), "trials": 3, "seed": 0,
        "journal": tmp_path / "journal.log", "progress": lambda _: None, "check": lambda: None,
    }  # fmt: skip
    return usual | changes


def small(workspace: Workspace, found: Learning, **settings: Any) -> Search:
    """With spaces that take seconds, so that no budget decides what is tried."""
    made = Search(workspace, found, **{"budget": Budget.start(600.0), **settings})
    made.spaces = {"frozen": FROZEN, "finetune": FINETUNE}
    return made


def largest_difference(trained: Trained, found: Learning, directory: Path, runtime: str) -> float:
    kind, task = ("softmax", Task.CLASSIFICATION) if found.exclusive else ("sigmoid", Task.MULTILABEL)
    manifest = Manifest(
        project="p", version=1, task=task, labels=found.labels, thresholds={}, calibration=Calibration(kind),  # type: ignore[arg-type]
        input=trained.input, base=Base("", "", "", ""), dataset_version=1, dataset_sha256="", created_at=0.0, seed=0,
    )  # fmt: skip
    images = [p.pixels() for p in found.pictures]
    return parity(manifest, RUNTIMES[runtime](directory, 0), trained.network, images)


@pytest.mark.slow
def test_obvious_rule(shared: Workspace, discs: Learning, tmp_path: Path) -> None:
    seen: list[Any] = []
    trained = search(shared, discs, **options(tmp_path, progress=lambda v: seen.append(dict(v))))
    assert trained.oof is not None
    assert (trained.oof.raw.argmax(1) == trained.oof.truth.argmax(1)).mean() >= 0.9
    assert trained.oof.images == tuple(p.id for p in discs.pictures)
    assert trained.trials[0].params["backbone"] == "efficientnet_lite2"
    assert trained.params["kind"] in ("frozen", "finetune")
    assert {"features", "heads"} <= {v["stage"] for v in seen}
    trained.export(tmp_path)
    for runtime in RUNTIMES:
        assert largest_difference(trained, discs, tmp_path, runtime) < 1e-3


@pytest.mark.slow
def test_multilabel(shared: Workspace, draw: Draw, tmp_path: Path) -> None:
    rows = [(), ("red",), ("blue",), ("red", "blue")] * 4
    found = data(draw, rows, ("blue", "red"), exclusive=False)
    trained = search(shared, found, **options(tmp_path, task="multilabel", budget=Budget.start(30.0)))
    assert trained.oof is not None
    assert ((trained.oof.raw > 0) == trained.oof.truth).mean() >= 0.9
    trained.export(tmp_path)
    assert largest_difference(trained, found, tmp_path, "openvino") < 1e-3


@pytest.mark.slow
def test_same_seed_same_model(shared: Workspace, discs: Learning, tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        trained = small(shared, discs, **options(tmp_path, journal=tmp_path / name, budget=Budget.start(600.0))).run()
        batch = np.stack([prepare(p.pixels(), trained.input) for p in discs.pictures[:3]])
        found.append(([t.params for t in trained.trials], trained.params, trained.network(batch), trained.oof))
    assert [t.kind for t in trained.trials] == ["frozen"] * 3 + ["finetune"] * 3
    one, two = found
    assert one[:2] == two[:2]
    assert np.array_equal(one[2], two[2])
    assert np.array_equal(one[3].raw, two[3].raw)


@pytest.mark.slow
@pytest.mark.parametrize("exclusive", [True, False], ids=["one label", "several"])
@pytest.mark.parametrize(("taken", "kind"), [(1, "finetune"), (2, "ensemble")])
def test_fine_tuned(
    shared: Workspace, draw: Draw, exclusive: bool, taken: int, kind: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Where the comparison says so, the fine-tuned network is what is exported, alone or with the frozen one."""
    monkeypatch.setattr(judging, "cheapest_of_the_best", lambda _: taken)
    found = data(draw, [("red",), ("blue",)] * 4, ("blue", "red"), exclusive=exclusive)
    settings = options(tmp_path, trials=1, budget=Budget.start(600.0))
    trained = small(shared, found, **settings).run()
    assert trained.params["kind"] == kind
    expected = {"finetune": FINETUNE.default, "ensemble": {f"finetune.{k}": v for k, v in FINETUNE.default.items()}}
    assert expected[kind].items() <= trained.params.items()
    assert trained.input.height == (224 if kind == "ensemble" else FINETUNE.default["size"])
    (loss,) = (s.points for s in trained.curves if s.name == "fine-tuning loss")
    assert len(loss) == FINETUNE.default["steps"]  # all eight images are one step
    assert loss[-1][1] < loss[0][1]
    assert trained.oof is not None
    assert len(trained.oof) == 8
    trained.export(tmp_path)
    for runtime in RUNTIMES:
        assert largest_difference(trained, found, tmp_path, runtime) < 1e-3


@pytest.mark.slow
def test_what_cannot_be_compared_is_mixed(shared: Workspace, draw: Draw, tmp_path: Path) -> None:
    """One image a label: nothing can be held out, so both kinds answer together and nothing is claimed."""
    found = data(draw, [("red",), ("blue",), ("green",)], ("blue", "green", "red"), exclusive=True)
    trained = small(shared, found, **options(tmp_path, budget=Budget.start(600.0))).run()
    assert trained.params["kind"] == "ensemble"
    assert trained.oof is None
    assert any("quality is unknown" in w for w in trained.warnings)
    batch = np.stack([prepare(p.pixels(), trained.input) for p in found.pictures])
    assert np.array_equal(trained.network(batch)[:, :3].argmax(1), found.truth.argmax(1))


@pytest.mark.slow
def test_killed_and_continued(shared: Workspace, discs: Learning, tmp_path: Path) -> None:
    """Cancelled after the second trial; the next run does the rest and no trial twice."""
    done = 0

    def stop_after_two(values: Any) -> None:
        nonlocal done
        done = values.get("trial", 0)

    def check() -> None:
        if done == 2:
            raise JobCancelled("stop")

    with pytest.raises(JobCancelled):
        small(shared, discs, **options(tmp_path, trials=4, progress=stop_after_two, check=check)).run()
    continued = small(shared, discs, **options(tmp_path, trials=4))
    continued.spaces["frozen"] = FROZEN.narrowed(head=["logistic", "ridge", "prototype"])
    trained = continued.run()
    frozen = [t for t in trained.trials if t.kind == "frozen"]
    assert [t.state for t in frozen] == ["complete"] * 4
    assert {t.params["head"] for t in frozen if t.params} <= {"logistic", "ridge"}


@pytest.mark.slow
def test_no_budget_gives_the_default(shared: Workspace, discs: Learning, tmp_path: Path) -> None:
    trained = search(shared, discs, **options(tmp_path, budget=Budget.start(0.0)))
    assert [t.state for t in trained.trials] == ["complete"]
    assert trained.params["backbone"] == "efficientnet_lite2"
    assert any("no time for fine-tuning" in w for w in trained.warnings)


def test_one_label_is_refused(shared: Workspace, draw: Draw, tmp_path: Path) -> None:
    found = data(draw, [("red",)] * 4, ("blue", "red"), exclusive=True)
    with pytest.raises(TrainingError, match=r"carry one label \(red\)") as caught:
        search(shared, found, **options(tmp_path))
    assert "another label" in caught.value.hint


@pytest.mark.parametrize(
    ("gains", "expected"),
    [
        pytest.param([0.1, 0.1, 0.1], True, id="always"),
        pytest.param([0.0, 0.0, 0.0], False, id="never"),
        pytest.param([3.0, -0.5, -0.5, -0.5], False, id="by one lucky image"),
        pytest.param([0.3, 0.2, 0.1, 0.2], True, id="mostly"),
        pytest.param([-0.3, -0.2], False, id="worse"),
    ],
)
def test_clearly_better(gains: list[float], expected: bool) -> None:
    rivals = np.full(len(gains), 1.0)
    assert clearly_better(rivals - gains, rivals) is expected


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param([[1.0, 1.1, 0.9], [0.2, 0.3, 0.1], [0.2, 0.3, 0.1]], 1, id="equal: the cheaper"),
        pytest.param([[1.0, 1.1, 0.9], [0.2, 0.3, 0.1], [0.1, 0.1, 0.0]], 2, id="surely better"),
        pytest.param([[0.5, 0.5, 0.5, 0.5], [0.0, 1.0, 0.0, 0.9]], 0, id="better by less than an error"),
        pytest.param([[np.nan, 0.5, 0.6], [np.nan, 0.1, 0.1]], 1, id="not all held out"),
    ],
)
def test_the_cheapest_of_the_best(candidates: list[list[float]], expected: int) -> None:
    assert cheapest_of_the_best([np.array(row) for row in candidates]) == expected


def test_score_is_a_proper_one(draw: Draw) -> None:
    """Confident and right beats unsure beats confident and wrong, whatever the scale of the logits."""
    found = data(draw, [("red",), ("blue",)] * 6, ("blue", "red"), exclusive=True)
    right = np.where(found.truth, 1.0, -1.0)
    unsure = right * np.where(np.arange(12) % 3 == 0, -1.0, 1.0)[:, None]
    rows = np.arange(12)
    values = [score(found, logits, rows).value for logits in (right, unsure, -right)]
    assert values[0] < values[1] < values[2]
    assert score(found, 50 * right, rows).value == pytest.approx(values[0], abs=0.15)
    part = score(found, right, rows[:5])
    assert np.isnan(part.losses).sum() == 7
    assert len(part.outcome) == 5
