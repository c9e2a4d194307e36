"""Charts: what is shown, and that every writer writes what it says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from tenshot.projects.errors import UnknownNameError, UsageError
from tenshot.projects.metering import charts, drawing
from tenshot.projects.metering.bill import By, rows
from tenshot.projects.metering.drawing import Box
from tenshot.projects.metering.ledger import Account
from tenshot.projects.metering.periods import zone
from tenshot.projects.metering.prices import PriceList
from tenshot.projects.metering.views import Bars, blocks
from tenshot.projects.records import UsageRecord

DAY = 86400.0
BASE = 1_795_000_000 // 86400 * DAY
SVG = "{http://www.w3.org/2000/svg}"


def account(by: By | None, price: float = 1.0, name: str = "UTC") -> Account:
    units = {unit: {"price": price, "per": 1000, "hosted": None} for unit in ("image", "training_second")}
    prices = PriceList.model_validate({"currency": "EUR", "units": units})
    used = [
        UsageRecord("a", "image", "p <&>", 1, "predict", 1000.0, BASE, BASE, "k"),
        UsageRecord("b", "image", "q", 1, "predict", 500.0, BASE + 3 * DAY, BASE + 3 * DAY),
        UsageRecord("c", "training_second", "q", 1, "train", 3600.0, BASE, BASE + 3600, "", False),
        UsageRecord("d", "image", "q", 1, "predict", -800.0, BASE, BASE),
    ]
    return Account(rows(used, prices, by, tz=zone(name)), prices, by, zone(name))


def test_periods_are_without_gaps_and_stacked_by_project() -> None:
    found = charts.chart(account("day", name="Europe/Berlin"))
    assert len(found.groups) == 4
    assert found.series == ["p <&>", "q", "q (not billed)"]
    assert [panel.title for panel in found.panels] == ["cost, EUR", "images", "training hours"]
    images = found.panels[1]
    assert [images.sum(group) for group in found.groups] == [200.0, 0.0, 0.0, 500.0]


def test_groups_that_are_no_periods() -> None:
    found = charts.chart(account("key", price=0.0))
    assert found.groups == ["p <&> k", "q (no key)"]
    assert [panel.title for panel in found.panels] == ["images", "training hours"]
    assert found.groups_of(found.panels[1]) == ["q (no key)"]


def test_columns_are_as_high_as_what_they_stand_for() -> None:
    found = charts.chart(account("day", price=0.0))
    boxes = [shape for shape in charts.draw(found).shapes if isinstance(shape, Box) and "," in shape.tip]
    heights = {box.tip: box.height for box in boxes}
    first, second = found.groups[0], found.groups[3]
    assert heights[f"{first}, p <&>: 1,000"] == pytest.approx(2 * heights[f"{second}, q: 500"])
    assert not any(tip.startswith(f"{first}, q:") for tip in heights), "what is below nothing is not drawn"


def test_too_many_columns() -> None:
    prices = PriceList.model_validate({"currency": "EUR", "units": {"image": {"price": 1, "per": 1, "hosted": None}}})
    used = [UsageRecord(str(at), "image", "p", 1, "x", 1.0, at, at) for at in (0.0, 1e8)]
    with pytest.raises(UsageError) as caught:
        charts.chart(Account(rows(used, prices), prices))
    assert "--by day" in caught.value.hint


@pytest.mark.parametrize("highest", [0.0, 1e-6, 0.7, 1.0, 3.0, 99.9, 1e9])
def test_ticks(highest: float) -> None:
    found = charts.ticks(highest)
    assert found[0] == 0
    assert found[-1] >= highest * (1 - 1e-9)
    assert 2 <= len(found) <= 6


@pytest.mark.parametrize("by", [None, "day", "month", "project", "version", "operation", "key"])
def test_written(by: By | None, tmp_path: Path) -> None:
    made = charts.draw(charts.chart(account(by)))
    for ending in drawing.WRITERS:
        drawing.write(tmp_path / f"chart{ending}", made)
    root = ElementTree.parse(tmp_path / "chart.svg").getroot()  # noqa: S314 (ours)
    texts = "".join(root.itertext())
    assert "Usage by" in texts
    assert "training hours" in texts
    assert "p <&>" in texts
    inside = [float(box.get("x", "0")) + float(box.get("width", "0").rstrip("%")) for box in root.iter(f"{SVG}rect")]
    assert max(inside) <= made.width
    assert (tmp_path / "chart.html").read_text("utf-8").count("<svg") == 1
    from PIL import Image

    with Image.open(tmp_path / "chart.png") as image:
        assert image.size == (round(made.width * 2), round(made.height * 2))
        assert len(image.getcolors(1 << 20) or []) > 3


@pytest.mark.parametrize(("name", "near"), [("x.pgn", ".png"), ("x", ""), ("x.jpeg", "")])
def test_unknown_ending(name: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=r"\.svg") as caught:
        drawing.check(Path(name))
    assert near in caught.value.hint


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        drawing.write(tmp_path / "no" / "x.svg", charts.draw(charts.chart(account("day"))))


@pytest.mark.parametrize(
    ("share", "width", "expected"),
    [
        pytest.param(0, 4, "", id="nothing"),
        pytest.param(1, 4, "████", id="all"),
        pytest.param(0.5, 3, "█▌", id="half a cell"),
        pytest.param(0.0001, 4, "▏", id="hardly anything"),
        pytest.param(-1, 4, "", id="below nothing"),
    ],
)
def test_blocks(share: float, width: int, expected: str) -> None:
    assert blocks(share, width) == expected


def test_blocks_of_a_terminal_without_them() -> None:
    assert blocks(0.5, 4, ascii_only=True) == "##"
    assert blocks(0.001, 4, ascii_only=True) == "#"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_bars_are_as_wide_as_the_terminal(width: int, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    Console(file=stream, width=width, soft_wrap=True).print(Bars(charts.chart(account("day"))))
    lines = stream.getvalue().splitlines()
    assert width - 8 <= max(map(len, lines)) <= width
    assert sum(line.startswith("2026-11-") for line in lines) == 12
