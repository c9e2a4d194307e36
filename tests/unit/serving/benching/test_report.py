"""What people see of a measurement."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from defusedxml import ElementTree
from rich.console import Console

from tenshot.serving.benching import figures, report
from tenshot.serving.benching.bench import Report
from tenshot.serving.benching.figures import Stage

STAGES = tuple(
    Stage(clients, 10.0, 400, failed, rate, 20.0 * clients, 25.0 * clients, 30.0 * clients, 1, 1.6, 290_000_000, 0.03)
    for clients, rate, failed in ((1, 31.2, {}), (2, 40.9, {}), (4, 41.8, {"HTTP 503": 3, "refused": 1}))
)
IMAGES = {"count": 3, "formats": {"JPEG": 2, "PNG": 1}, "median_bytes": 123_456}


def made(stages=STAGES, rate=None, cores=2, interrupted=False) -> Report:
    knee = figures.knee(stages)
    wanted = figures.recommend(rate, knee, cores) if rate else None
    return Report("cells@1", "http://127.0.0.1:3000", True, IMAGES, cores, stages, knee, wanted, interrupted)


def shown(found: Report) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=80, soft_wrap=False, color_system=None)
    for part in report.view(found):
        console.print(part)
    return stream.getvalue()


def test_the_table_fits_80_columns_and_says_everything() -> None:
    text = shown(made(rate=20))
    rows = [line for line in text.splitlines() if line.split()[:1] == ["2"]]
    assert rows[0].split() == ["2", "1", "40.9", "40.0", "50.0", "60.0", "0", "1.60", "290", "MB"]
    for words in ("2 JPEG, 1 PNG (123 kB", "4 clients: 3 × HTTP 503", "4 clients: 1 × refused", "knee is at 2 clients"):
        assert words in text
    assert "up to 0.03 of 2 cores" in text
    assert "For 20 requests/s take 1 unit" in text


@pytest.mark.parametrize(
    ("rate", "cores", "words"),
    [
        pytest.param(20, 2, "They keep 1.0 of this machine's 2 cores busy", id="enough"),
        pytest.param(100, 2, "2 cores would not do: that keeps 5.1 cores busy, about 3 such machines", id="not enough"),
        pytest.param(100, 8, "take 4 units", id="a larger machine"),
    ],
)
def test_advice(rate, cores, words) -> None:
    assert words in " ".join(report.conclusions(made(rate=rate, cores=cores)))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        pytest.param(made((), interrupted=True), "nothing was measured", id="interrupted before anything"),
        pytest.param(made(STAGES[:1], interrupted=True), "measured so far", id="interrupted"),
        pytest.param(
            made(
                (
                    replace(
                        STAGES[0], per_second=0.0, p50_ms=None, p95_ms=None, p99_ms=None, cores=None, memory_bytes=None
                    ),
                )
            ),
            "nothing was answered",
            id="only failures",
        ),
    ],
)
def test_there_is_always_something_to_see(found, words) -> None:
    assert words in shown(found)
    json.dumps(found.to_json())


def test_files(tmp_path) -> None:
    written = report.save(made(rate=20), tmp_path / "new")
    assert [path.name for path in written] == ["bench.json", "bench.svg"]
    document = json.loads(written[0].read_text("utf-8"))
    assert (document["knee"], document["recommendation"]["units"]) == (2, 1)
    assert [one["clients"] for one in document["stages"]] == [1, 2, 4]
    assert [path.name for path in report.save(made((), interrupted=True), tmp_path / "none")] == ["bench.json"]


def test_the_curve_is_a_picture_of_the_figures() -> None:
    root = ElementTree.fromstring(report.svg("a<b@1", STAGES))
    name = {"svg": "http://www.w3.org/2000/svg"}
    texts = [element.text for element in root.iterfind(".//svg:text", name)]
    assert "a<b@1" in texts
    circles = list(root.iterfind(".//svg:circle", name))
    assert len(circles) == 2 * len(STAGES)
    heights = [float(circle.get("cy", "")) for circle in circles[:3]]
    assert heights == sorted(heights, reverse=True), "more requests/s stand higher"
    left, right = (float(circle.get("cx", "")) for circle in (circles[0], circles[2]))
    assert left < right


@pytest.mark.parametrize(("value", "top"), [(1.0, 1), (41.8, 80), (40, 40), (0.3, 0.4), (123, 200), (900, 1000)])
def test_axes_end_at_round_numbers(value, top) -> None:
    assert report._round_up(value) == pytest.approx(top)
