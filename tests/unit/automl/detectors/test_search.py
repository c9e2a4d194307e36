"""The detection search: what a budget allows, the strict search space, and a search that is killed and goes on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tenshot.automl.detectors import yolov8
from tenshot.automl.detectors.examples import Example
from tenshot.automl.detectors.recipe import Recipe
from tenshot.automl.search import detection
from tenshot.automl.search.detection_budget import (
    LEAST_OF_EPOCHS,
    SOON_S,
    Cost,
    Plan,
    epochs_within,
    first_epochs,
    plan,
    replanned,
)
from tenshot.automl.search.detection_narrowing import narrowed_detection
from tenshot.automl.search.detection_space import Space, default_params, default_recipe, parse, recipe_with, space
from tenshot.automl.search.suppressions import map50
from tenshot.datasets.annotations import Box
from tenshot.projects.errors import EmptyDataError, JobCancelled, SettingsError, TrainingError

LABELS = ("disc", "square")
COST = Cost(view_s=0.1, image_size=512)
SIZE = 512
RECIPE = Recipe(image_size=SIZE, epochs=80)  # 10 images: 80 s


def boxed(side: float, count: int = 1) -> Example:
    boxes = tuple(Box("square", 0.1, 0.1, side, side) for _ in range(count))
    return Example("0" * 64, lambda: np.zeros((100, 100, 3), np.uint8), boxes)


# What a budget allows ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget_s", "groups", "expected"),
    [
        pytest.param(4000, 10, Plan(5, 80, SIZE), id="plenty"),
        pytest.param(1000, 10, Plan(3, 80, SIZE), id="enough"),
        pytest.param(300, 10, Plan(2, 80, SIZE), id="default-and-a-little"),
        pytest.param(4000, 4, Plan(4, 80, SIZE), id="no-more-folds-than-groups"),
        pytest.param(100, 10, Plan(2, 31, 448), id="smaller-images-and-a-short-trial"),
        pytest.param(40, 10, Plan(2, 43, 320), id="smallest-images-and-a-shortened-fit"),
        pytest.param(8, 10, Plan(0, 17, 320), id="plain-fit"),
        pytest.param(1, 10, Plan(0, 2, 320), id="hardly-anything"),
        pytest.param(4000, 1, Plan(0, 80, SIZE), id="one-group-cannot-be-split"),
    ],
)
def test_plan(budget_s: float, groups: int, expected: Plan) -> None:
    assert plan(budget_s, 10, groups, RECIPE, COST) == expected


@pytest.mark.parametrize("budget_s", [20, 75, 130, 200, 300, 900, 2500, 10_000])
def test_the_default_and_the_final_fit_always_fit_the_budget(budget_s: float) -> None:
    made = plan(budget_s, 10, 10, RECIPE, COST)
    recipe = RECIPE.with_(epochs=made.epochs, image_size=made.image_size)
    assert COST.folds_s(10, made.folds, recipe) + COST.fit_s(10, recipe) <= budget_s


def test_larger_images_cost_in_proportion_to_their_area() -> None:
    assert COST.fit_s(10, RECIPE.with_(image_size=1024)) == pytest.approx(4 * COST.fit_s(10, RECIPE))


def test_epochs_are_cut_to_the_time_left() -> None:
    assert epochs_within(1000, 10, RECIPE, COST) == 80
    assert COST.fit_s(10, RECIPE.with_(epochs=epochs_within(40, 10, RECIPE, COST))) <= 40
    assert epochs_within(-5, 10, RECIPE, COST) == 1


def test_thawing_late_saves_some_of_what_a_frozen_backbone_saves() -> None:
    plain, frozen, thawed = (
        COST.fit_s(10, RECIPE.with_(**how)) for how in ({}, {"freeze": 10}, {"freeze": 10, "frozen_share": 0.5})
    )
    assert frozen < thawed < plain
    assert Cost.measured(0.07, RECIPE.with_(freeze=10)) == Cost(pytest.approx(0.1), SIZE)


@pytest.mark.parametrize("budget_s", [5, 40, 100, 300, 900, 4000])
def test_the_first_fit_comes_soon_and_leaves_the_default_its_trial(budget_s: float) -> None:
    made = plan(budget_s, 10, 10, RECIPE, COST)
    recipe = RECIPE.with_(image_size=made.image_size)
    fitting = recipe.with_(epochs=first_epochs(budget_s, 10, recipe, made, COST))
    first = COST.fit_s(10, fitting)
    assert first <= SOON_S
    assert first + COST.folds_s(10, made.folds, recipe.with_(epochs=made.epochs)) <= budget_s


@pytest.mark.parametrize(
    ("left_s", "expected"),
    [
        pytest.param(1000, Plan(3, 80, SIZE), id="as-planned"),
        pytest.param(100, Plan(2, 80, SIZE), id="fewer-folds"),
        pytest.param(50, Plan(2, 42, SIZE), id="fewer-epochs"),
        pytest.param(10, Plan(0, 80, SIZE), id="none"),
    ],
)
def test_a_busy_machine_makes_the_trial_smaller(left_s: float, expected: Plan) -> None:
    made = replanned(left_s, 10, RECIPE, Plan(3, 80, SIZE), COST)
    assert made == expected
    assert not made.folds or made.epochs >= LEAST_OF_EPOCHS * RECIPE.epochs


# The search space --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        pytest.param(0.5, "lowest", id="large-boxes"),
        pytest.param(36 / 512, 512, id="middle"),
        pytest.param(0.01, "highest", id="small-boxes"),
    ],
)
def test_small_boxes_ask_for_large_images(side: float, expected: Any) -> None:
    rules = space()
    size = default_recipe([boxed(side)], rules).image_size
    assert size == (getattr(rules.image_size, expected) if isinstance(expected, str) else expected)


def test_a_rare_label_of_small_boxes_counts() -> None:
    small = replace(boxed(36 / 512), boxes=(Box("disc", 0.1, 0.1, 36 / 512, 36 / 512),))
    assert default_recipe([boxed(0.5, count=9), small], space()).image_size == 512


def test_more_images_take_fewer_passes_and_larger_batches() -> None:
    few, many = (default_recipe([boxed(0.3)] * count, space()) for count in (10, 400))
    assert few.epochs > many.epochs
    assert few.batch < many.batch


@pytest.mark.parametrize(
    ("examples", "few"),
    [
        pytest.param([boxed(0.3)] * 10, True, id="one-box-an-image"),
        pytest.param([boxed(0.1, count=20)] * 10, False, id="twenty-boxes-an-image"),
        pytest.param([boxed(0.1, count=8)] * 5 + [boxed(0.1, count=0)] * 20, False, id="negatives-do-not-count"),
    ],
)
def test_few_objects_have_a_default_of_their_own(examples: list[Example], few: bool) -> None:
    rules = space()
    assert rules.few_objects
    recipe = default_recipe(examples, rules)
    other = default_recipe(examples, rules.model_copy(update={"few_objects": None}))
    assert recipe == (recipe_with(other, rules.few_objects.default) if few else other)
    assert (recipe != other) is few


@pytest.mark.parametrize("count", [pytest.param(1, id="few-objects"), pytest.param(20, id="many-objects")])
def test_the_default_is_a_point_of_the_space(count: int) -> None:
    rules = space()
    recipe = default_recipe([boxed(0.1, count=count)] * 10, rules)
    params = default_params(rules, recipe)
    assert recipe_with(recipe, params) == recipe
    for name, value in params.items():
        how = rules.space[name]
        if hasattr(how, "choices"):
            assert value in how.choices
        else:
            assert how.low <= value <= how.high


def shipped() -> dict[str, Any]:
    return space().model_dump()


@pytest.mark.parametrize(
    ("path", "value", "match"),
    [
        pytest.param(("image_size", "lowest"), 100, r"image_size\.lowest", id="not-a-multiple-of-32"),
        pytest.param(("image_sise",), {}, "image_sise", id="unknown-section"),
        pytest.param(("space", "mosiac"), {"choices": [0]}, "mosiac", id="unknown-parameter"),
        pytest.param(("default",), {"image_size": 416}, "image_size", id="size-is-not-a-default"),
        pytest.param(("few_objects", "default"), {"mosiac": 1.0}, "mosiac", id="unknown-for-few-objects"),
        pytest.param(("suppression", "iou"), [], r"suppression\.iou", id="empty-grid"),
    ],
)
def test_the_space_is_read_strictly(path: tuple[str, ...], value: Any, match: str) -> None:
    document = yaml.safe_load(yaml.safe_dump(yaml.safe_load(Space.model_validate(shipped()).model_dump_json())))
    target = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    with pytest.raises(SettingsError, match=match):
        parse(document, "detection.yaml")


@pytest.mark.parametrize(
    ("own", "key", "expected"),
    [
        pytest.param({"space": {"mosaic": [0.0]}}, "mosaic", 0.0, id="what-is-not-allowed-gives-way"),
        pytest.param({"default": {"paste": 0.0}}, "paste", 0.0, id="a-default-of-ones-own-comes-first"),
        pytest.param({"default": {"paste": 0.0}}, "mosaic", 1.0, id="the-rest-stays"),
    ],
)
def test_a_space_of_ones_own_holds_for_few_objects_too(own: dict[str, Any], key: str, expected: float) -> None:
    assert getattr(default_recipe([boxed(0.3)] * 10, narrowed_detection(own)), key) == expected


# Searching ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rules() -> Space:
    """Two-epoch trainings at 96 px."""
    document = shipped()
    document["image_size"] |= {"lowest": 96, "highest": 96}
    document["epochs"] |= {"lowest": 2, "highest": 2}
    return Space.model_validate(document)


@pytest.fixture(scope="session")
def paired(pictures: list[Example]) -> list[Example]:
    """Six pictures in two groups, so that there are two folds."""
    return [replace(p, group=f"photo {i % 2}") for i, p in enumerate(pictures[:6])]


def run(examples: list[Example], weights: Path, journal: Path, rules: Space, **changes: Any) -> Any:
    options: dict[str, Any] = {"budget_s": 600.0, "trials": 2, "seed": 0, "threads": 1}
    return detection.search(examples, LABELS, weights=weights, journal=journal, rules=rules, **{**options, **changes})


def test_images_without_any_box_are_refused(weights: Path, tmp_path: Path, rules: Space) -> None:
    negative = Example("0" * 64, lambda: np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(EmptyDataError):
        run([negative], weights, tmp_path / "j", rules)


@pytest.mark.slow
def test_a_search_returns_what_it_found(weights: Path, paired: list[Example], tmp_path: Path, rules: Space) -> None:
    events: list[dict[str, Any]] = []
    result = run(paired, weights, tmp_path / "study" / "journal.log", rules, progress=events.append)
    assert [t.kind for t in result.trials] == ["default", "first"]
    assert result.trials[0].state == "complete"
    assert result.trials[1].state in ("complete", "pruned")
    assert all(t.seconds > 0 for t in result.trials)
    assert 0 <= result.trials[0].value <= 1
    assert result.trials[0].sd >= 0
    assert result.plan.folds == len(result.fold_scores) == 2
    assert set(result.outcome.images) == {p.image for p in paired}
    assert result.metric == pytest.approx(map50(result.outcome))
    assert [row["epoch"] for row in result.history] == [1, 2]
    assert yolov8.network(result.detector)(np.zeros((1, 3, 96, 96), np.float32)).shape == (1, 6, 189)
    assert result.input_px in (64, 96, 128)
    assert max(len(b) for b in result.outcome.predictions) <= result.suppression.max_detections
    assert [e["stage"] for e in events[:2]] == ["first fit", "first fit"]
    assert {e["stage"] for e in events[2:]} <= {"search", "final fit"}


class Killed(BaseException):
    """Not an Exception, as a signal would raise it."""


@pytest.mark.slow
def test_a_killed_search_goes_on_where_it_stopped(
    weights: Path, paired: list[Example], tmp_path: Path, rules: Space
) -> None:
    journal = tmp_path / "journal.log"

    def kill(event: dict[str, Any]) -> None:
        if event["trial"] == 1 and event["fold"] == 1:
            raise Killed

    with pytest.raises(Killed):
        run(paired, weights, journal, rules, progress=kill)
    seen: list[Any] = []
    result = run(paired, weights, journal, rules, progress=lambda e: seen.append((e["stage"], e["trial"])))
    assert ("search", 0) not in seen
    assert "first fit" not in {stage for stage, _ in seen}
    assert [(t.kind, t.state) for t in result.trials[:2]] == [("default", "complete"), ("first", "fail")]
    assert result.trials[2].kind == "first"
    assert result.trials[2].state in ("complete", "pruned")
    with pytest.raises(TrainingError, match="belongs to a search over other images"):
        run(paired[:4], weights, journal, rules)


@pytest.mark.slow
def test_a_usable_detector_is_kept_before_any_trial(
    weights: Path, paired: list[Example], tmp_path: Path, rules: Space
) -> None:
    def kill(event: dict[str, Any]) -> None:
        if event["stage"] == "search":
            raise Killed

    with pytest.raises(Killed):
        run(paired, weights, tmp_path / "journal.log", rules, progress=kill)
    kept = yolov8.load(tmp_path / detection.FIRST)
    assert kept.labels == LABELS
    (tmp_path / detection.FIRST).write_bytes(b"damaged")
    stages: list[str] = []
    run(paired, weights, tmp_path / "journal.log", rules, trials=1, progress=lambda e: stages.append(e["stage"]))
    assert stages[0] == "first fit"


@pytest.mark.slow
def test_what_there_was_no_time_for_is_tried_by_a_longer_search(
    weights: Path, paired: list[Example], tmp_path: Path, rules: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "journal.log"
    with monkeypatch.context() as patch:
        # Everything but the default is too dear for this budget.
        patch.setattr("tenshot.automl.search.detection_trials.SLACK", 1e6)
        short = run(paired, weights, journal, rules)
    assert [t.kind for t in short.trials] == ["default"]
    longer = run(paired, weights, journal, rules)
    assert [t.kind for t in longer.trials] == ["default", "first"]


@pytest.mark.slow
def test_a_trial_that_the_deadline_cuts_does_not_count(
    weights: Path, paired: list[Example], tmp_path: Path, rules: Space
) -> None:
    """From the challenger's first epoch on there is no time left; the default's predictions stay."""
    left = {"s": 600.0}

    def progress(event: dict[str, Any]) -> None:
        if event["trial"] == 1:
            left["s"] = 0.0

    result = run(paired, weights, tmp_path / "journal.log", rules, left=lambda: left["s"], progress=progress)
    assert [(t.kind, t.state) for t in result.trials] == [("default", "complete"), ("first", "fail")]
    assert set(result.outcome.images) == {p.image for p in paired}
    left["s"] = 600.0
    longer = run(paired, weights, tmp_path / "journal.log", rules, left=lambda: left["s"])
    assert [t.kind for t in longer.trials] == ["default", "first", "first"]


@pytest.mark.slow
def test_a_tiny_budget_is_kept_and_its_metric_is_unknown(
    weights: Path, paired: list[Example], tmp_path: Path, rules: Space
) -> None:
    document = rules.model_dump()
    document["epochs"] |= {"lowest": 5000, "highest": 5000}
    started = time.monotonic()
    result = run(paired, weights, tmp_path / "journal.log", Space.model_validate(document), budget_s=8.0)
    assert time.monotonic() - started < 30
    assert (result.metric, result.outcome, result.fold_scores, result.trials) == (None, None, (), ())
    assert result.plan.folds == 0
    assert len(result.history) == result.recipe.epochs or len(result.history) < 5000


@pytest.mark.slow
def test_a_cancelled_search_stops(weights: Path, paired: list[Example], tmp_path: Path, rules: Space) -> None:
    def cancel() -> None:
        raise JobCancelled("cancelled")

    with pytest.raises(JobCancelled):
        run(paired, weights, tmp_path / "journal.log", rules, check=cancel)
