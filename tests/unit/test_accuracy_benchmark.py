"""The accuracy benchmark keeps what it measured, and says what that means for its goals."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("accuracy_results")


@pytest.fixture
def page(results: Any) -> Any:
    return importlib.import_module("page")


def measured(results: Any, value: float = 0.8, **fields: Any) -> Any:
    known: dict[str, Any] = {
        "set": "trash", "shots": "10_per_class", "seed": 0, "method": "tenshot", "task": "classification",
        "train_images": 60, "test_images": 108, "value": value, "interval": (0.7, 0.9), "wall_s": 290.0, "cpu_s": 400.0,
        "brier": 0.2, "brier_uncalibrated": 0.3, "cross_validated": 0.75, "cross_validated_interval": (0.65, 0.85),
        "budget_s": 300.0,
    }  # fmt: skip
    return results.Measured(**{**known, **fields})


def cells(results: Any, *found: Any) -> dict[str, str]:
    """The first row of the first table, by heading."""
    lines = results.tables(results.rows(["trash/10_per_class"]), found).splitlines()
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return dict(zip(split[0], split[2], strict=True))


def test_kept_and_read_back(results: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    one, two = measured(results), measured(results, seed=1, method="logistic", budget_s=None)
    for found in (one, two, measured(results, value=0.9)):
        results.append(path, found)
    with path.open("a") as target:
        target.write('{"set": "trash", "sho')  # killed while it wrote
    results.append(path, measured(results, value=0.6, seed=2))
    known = results.load(path)
    assert {key[2:4] for key in known} == {(0, "tenshot"), (1, "logistic"), (2, "tenshot")}
    assert known[one.key].value == 0.9, "the youngest counts"
    assert known[two.key].to_json().items() >= {"seed": 1, "budget_s": None, "overdraft": None}.items()


@pytest.mark.parametrize(
    ("values", "reached"),
    [
        pytest.param([0.70, 0.80], "yes", id="at least"),
        pytest.param([0.78, 0.80], "stretch", id="stretch"),
        pytest.param([0.68, 0.70], "no", id="missed"),
        pytest.param([0.60, 0.62], "**below the floor**", id="floor"),
    ],
)
def test_goals(results: Any, values: list[float], reached: str) -> None:
    found = cells(results, *(measured(results, value, seed=k) for k, value in enumerate(values)))
    assert found["reached"] == reached
    assert found["draws"] == "0, 1"
    assert found["Tenshot"].startswith(f"{sum(values) / 2:.3f} ± ")


def test_other_draws_are_named(results: Any) -> None:
    other = measured(results, 0.7, seed=1, method="logistic", budget_s=None)
    assert cells(results, measured(results), other)["logistic regression"] == "0.700 (draws 1)"


def test_honesty(results: Any) -> None:
    found = [measured(results), measured(results, 0.9, seed=1, wall_s=340.0)]
    assert [m.covers for m in found] == [True, False]
    text = results.tables(results.rows(["trash/10_per_class"]), found)
    assert "| 1 of 2 | 0.2000 | 0.3000 | yes | 300 s | 340 s (+13 %) |" in text
    assert "1 of 2 (50 %)" in text
    assert "within 110 % of their budget: 1 of 2" in text


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        pytest.param(["trash"], ["trash/10_per_class", "trash/10_total"], id="set"),
        pytest.param(["trash/10_total"], ["trash/10_total"], id="row"),
        pytest.param(["fruit/10_total"], ["fruit/10_total"], id="without a goal"),
    ],
)
def test_rows(results: Any, only: list[str], expected: list[str]) -> None:
    assert [row.key for row in results.rows(only)] == expected


def test_between_the_markers(page: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Page\n\n<!-- x -->\nold\n<!-- /x -->\n\nafter\n")
    page.put("x", "new", path)
    assert path.read_text() == "# Page\n\n<!-- x -->\nnew\n<!-- /x -->\n\nafter\n"
    page.put("y", "more", path)
    assert path.read_text().endswith("after\n\n<!-- y -->\nmore\n<!-- /y -->\n")
    assert capsys.readouterr().out == "new\nmore\n"
