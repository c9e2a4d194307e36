"""The checks of a dataset that look at the pictures: the arithmetic on made-up features, the rest on small pictures."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tenshot.automl import data_checks
from tenshot.automl.base import catalogue, fetch
from tenshot.automl.data_checks import STRANGE, out_of_fold, strangeness
from tenshot.datasets import doctor
from tenshot.datasets.ingest import import_dataset
from tenshot.projects.errors import WeightsError
from tenshot.projects.status import Task


def clouds(seed: int, size: int, kinds: int, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unit length around a mean of each kind."""
    random = np.random.default_rng(seed)
    number = np.arange(size) % kinds
    rows = 3 + random.normal(0, 1, (kinds, width))[number] + random.normal(0, 0.5, (size, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), number


@pytest.mark.parametrize("kinds", [1, 3])
@pytest.mark.parametrize("size", [20, 100, 300])
def test_a_homogeneous_set_has_no_strangers(size, kinds):
    alarms = [int((strangeness(*clouds(seed, size, kinds)) > STRANGE).sum()) for seed in range(20)]
    assert sum(alarms) <= 2  # of 20 sets


@pytest.mark.parametrize("count", [1, 4])
def test_strangers_are_found_even_when_they_are_alike(count):
    for seed in range(10):
        rows, kinds = clouds(seed, 100, 3)
        strange = -rows[:count] + 0.1 * np.random.default_rng(seed).normal(size=rows[:count].shape)
        rows[:count] = strange / np.linalg.norm(strange, axis=1, keepdims=True)
        assert set(np.flatnonzero(strangeness(rows, kinds) > STRANGE).tolist()) == set(range(count))


def test_a_label_with_one_image_is_measured_against_all():
    rows, kinds = clouds(0, 60, 2)
    kinds[0] = 9
    assert np.isfinite(strangeness(rows, kinds)).all()


@pytest.mark.parametrize("exclusive", [True, False], ids=["one label", "several"])
@pytest.mark.parametrize("labels", [2, 4])
def test_out_of_fold_logits_tell_labels_apart(labels, exclusive):
    rows, kinds = clouds(1, 80, labels)
    truth = np.eye(labels, dtype=bool)[kinds]
    logits = out_of_fold(40 * (rows - rows.mean(0)), truth, list(range(80)), exclusive=exclusive)
    right = (logits.argmax(1) == kinds) if exclusive else ((logits > 0) == truth).all(axis=1)
    assert right.mean() > 0.9


def test_rows_of_one_group_do_not_see_each_other():
    """Twins with random labels: whoever sees the twin knows the label."""
    random = np.random.default_rng(0)
    half = random.normal(size=(40, 30))
    names = random.integers(0, 2, 40)
    rows, truth = np.concatenate([half, half]), np.eye(2, dtype=bool)[np.concatenate([names, names])]
    apart = out_of_fold(rows, truth, [*range(40), *range(40)], exclusive=True)
    assert (apart.argmax(1) == truth.argmax(1)).mean() < 0.75


def test_nothing_can_be_held_out():
    rows, kinds = clouds(0, 6, 2)
    assert not out_of_fold(rows, np.eye(2, dtype=bool)[kinds], [0] * 6, exclusive=True).any()


@pytest.mark.parametrize(
    ("start", "length", "side", "expected"),
    [
        pytest.param(0.2, 0.5, 100, (15, 75), id="with a margin"),
        pytest.param(0.0, 1.0, 100, (0, 100), id="the whole side"),
        pytest.param(0.999, 0.001, 10, (9, 10), id="at least a pixel"),
        pytest.param(0.5, 0.0001, 10, (4, 6), id="a sliver"),
    ],
)
def test_crops_lie_in_the_image(start, length, side, expected):
    assert data_checks._cut(start, length, side) == expected


def test_absent_weights_are_not_fetched(tmp_path):
    seen = SimpleNamespace(workspace=SimpleNamespace(cache=tmp_path))
    with pytest.raises(WeightsError) as caught:
        data_checks._extractor(seen)  # type: ignore[arg-type]
    assert caught.value.hint == "tenshot models pull efficientnet_lite2"
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_wrong_labels_and_strangers_of_pictures(shared, folders, draw, tmp_path):
    """Two of forty discs lie in the wrong folder; `--fast` does not look."""
    fetch.ensure(shared, catalogue.row(data_checks.BACKBONE).name)
    path = folders(tmp_path / "sets", 20, first_seed=70_000, colours=("red", "blue"))
    for name in ("3.png", "8.png"):
        (path / "red" / name).rename(path / "blue" / f"moved-{name}")
    shared.store.create_project("checked", Task.CLASSIFICATION, at=1.0)
    import_dataset(shared, "checked", path)
    told: list[str] = []
    found = {
        f.code: f for f in doctor.check(shared, "checked", progress=lambda v: told.append(v.get("what", ""))).findings
    }
    named = " ".join(found["label-errors"].examples)
    assert "moved-3.png: red rather than blue" in named
    assert "moved-8.png" in named
    assert found["label-errors"].count <= 3
    assert {"", "looking for label errors", "looking for strangers"} == set(told)
    assert "label-errors" not in {f.code for f in doctor.check(shared, "checked", fast=True).findings}
