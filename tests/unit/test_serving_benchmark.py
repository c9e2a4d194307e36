"""The serving benchmark keeps what it measured, and says what that means for its goals."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tenshot.datasets.images import decode
from tenshot.projects.errors import ImageError
from tenshot.serving.benching.figures import Stage

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STAGE = Stage(4, 10.0, 400, {"HTTP 503": 2}, 40.0, 20.0, 25.0, 30.0, 1, 1.6, 290_000_000, 0.03)


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("serving_results")


@pytest.fixture
def served(results: Any) -> Any:
    return importlib.import_module("served")


@pytest.fixture
def bench(results: Any) -> Any:
    return importlib.import_module("bench_serving")


def part(results: Any, name: str = "loop", met: bool = True, **asked: Any) -> Any:
    goal, line = results.Goal("throughput", "0.95", "≥ 0.90", met), results.Line.of("endpoint", STAGE)
    return results.Part(name, asked, "2 cores", "2026-01-01", (goal,), (line,), ("a note",))


def test_the_newest_of_every_part_counts(results: Any, tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    assert results.load(path) == {}
    first, second, other = part(results, met=False), part(results), part(results, "start", photos="made")
    for one in (first, other, second):
        results.append(path, one)
    with path.open("a", encoding="utf-8") as stream:
        stream.write('{"name": "torn')
    assert results.load(path) == {"loop": second, "start": other}


def test_the_page_has_goals_figures_and_notes_in_order(results: Any) -> None:
    found = {"start": part(results, "start", met=False), "loop": part(results)}
    text = results.text(["loop", "start"], found)
    assert text.index("| yes |") < text.index("| **no** |")
    assert "| endpoint | 4 | 40.0 | 20.0 | 25.0 | 30.0 | 1.60 | 40.0 | 290 MB | 2 |" in text
    assert "- a note" in text
    assert results.text(["loop"], {}) == "Not measured yet."


def test_parts_that_were_measured_for_the_same_are_not_measured_again(bench: Any, results: Any, monkeypatch, tmp_path):
    measured: list[str] = []
    for name in ("start", "requests"):
        monkeypatch.setitem(bench.PARTS, name, lambda _, name=name: ([measured.append(name)][1:], [], []))
    monkeypatch.setattr("sys.argv", ["bench", "--only", "start,requests", "--results", str(tmp_path / "r.jsonl")])
    for requests in ("10", "10", "20"):
        monkeypatch.setenv("REQUESTS", requests)
        bench.run(bench._said())
    assert measured == ["start", "requests", "requests"]


def test_one_in_ten_is_bad_and_every_kind_comes(bench: Any) -> None:
    good, bad = [(f"g{i}", "") for i in range(7)], [(f"b{i}", "") for i in range(3)]
    found = bench._mixed(good, bad)
    assert len(found) == 210
    assert [found.count(one) for one in bad] == [7, 7, 7]
    assert [found.count(one) for one in good] == [27] * 7


def test_photos_are_photos_and_bad_images_are_none(served: Any, tmp_path: Path) -> None:
    data = served.photo(1, (320, 240))
    assert data == served.photo(1, (320, 240))
    assert Image.open(io.BytesIO(data)).size == (320, 240)
    assert 5_000 < len(data) < 60_000
    (tmp_path / "good.jpg").write_bytes(data)
    for path, _ in served.bad_images(tmp_path / "bad", [(str(tmp_path / "good.jpg"), "image/jpeg")]):
        with pytest.raises(ImageError):
            decode(Path(path).read_bytes(), name=path, max_megapixels=100)
