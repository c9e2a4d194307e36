from __future__ import annotations

from typing import Any

import pytest

from tenshot.automl.training.progress import bar, describe
from tenshot.automl.training.steps import Stopwatch
from tenshot.projects import console


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param({}, "training", id="nothing"),
        pytest.param(
            {"stage": "heads", "trial": 3, "best": 0.2, "metric": "log loss", "accuracy": 0.9166, "left_s": 7.4},
            "heads · trial 3 · best accuracy 0.917 · 7 s left", id="heads",
        ),
        pytest.param({"stage": "features", "backbone": "b", "policy": "hflip", "left_s": -3.0},
                     "features · b · hflip · 0 s left", id="overdrawn"),
        pytest.param({"stage": "folds", "trial": 0, "fold": 0, "epoch": 2, "epochs": 9, "best": 0.5},
                     "folds · trial 0 · fold 0 · epoch 2/9 · best mAP50 0.500", id="detector"),
    ],
)  # fmt: skip
def test_describe(values: dict[str, Any], expected: str) -> None:
    assert describe(values) == expected


@pytest.mark.parametrize("json", [True, False])
def test_bar_leaves_stdout_alone(json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    console.mode.json = json
    with bar(10.0) as show:
        show({"stage": "heads", "trial": 1})
    out, err = capsys.readouterr()
    assert out == ""
    assert not (json and err)


def test_stopwatch_adds_up_and_survives_errors() -> None:
    watch = Stopwatch()
    with watch.step("a"):
        pass
    with pytest.raises(ValueError, match="x"), watch.step("a"):
        raise ValueError("x")
    assert set(watch.seconds) == {"a"}
    assert watch.seconds["a"] >= 0
