"""Bar charts of an account: one panel a unit (units cannot be added), one for the cost if anything has one.

Columns along the time, stacked by project, where the rows tell periods apart; else a bar for each project, version,
operation or key. What is not billed is drawn pale.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from tenshot.projects.errors import UsageError
from tenshot.projects.metering.bill import period_of
from tenshot.projects.metering.drawing import Box, Drawing, Label, Line
from tenshot.projects.metering.periods import HOUR_S, covering, label

if TYPE_CHECKING:
    from tenshot.projects.metering.bill import Row
    from tenshot.projects.metering.ledger import Account

COLOURS = {
    "#4269d0": "#c3cff0",
    "#efb118": "#f9e3ae",
    "#ff725c": "#ffcdc5",
    "#6cc5b0": "#cbeae3",
    "#3ca951": "#bae2c2",
    "#ff8ab7": "#ffd5e5",
    "#a463f2": "#dfc7fb",
    "#97bbf5": "#dbe7fc",
    "#9c6b4e": "#dccabf",
    "#9498a0": "#d9dbde",
}
"""Colour of a series → the pale one of what is not billed."""
GRID, INK, GREY = "#e6e6e6", "#222222", "#666666"
WIDTH, MARGIN, LEFT, RIGHT = 960.0, 24.0, 72.0, 24.0
PANEL, HEAD, FOOT = 180.0, 34.0, 40.0
BAR, GAP, NAMES = 20.0, 8.0, 220.0
MOST_COLUMNS = 1000
LETTER = 6.4
"""Width of a letter of the size of the labels, for what has to be known before it is drawn."""


@dataclass(frozen=True)
class Panel:
    """One measure: value by (group, series)."""

    title: str
    values: dict[tuple[str, str], float]
    digits: int

    def sum(self, group: str) -> float:
        return math.fsum(value for (of, _), value in self.values.items() if of == group)

    def told(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"


@dataclass(frozen=True)
class Chart:
    title: str
    groups: list[str]
    """In order; periods in which nothing was used are among them."""
    series: list[str]
    panels: list[Panel]
    timed: bool

    def groups_of(self, panel: Panel) -> list[str]:
        """A period stays where nothing was used in it; of the others only those that have something."""
        return [group for group in self.groups if self.timed or any(of == group for of, _ in panel.values)]


BILLED, UNBILLED = "billed", " (not billed)"


def chart(account: Account) -> Chart:
    """Raises UsageError for more columns than can be drawn."""
    timed = period_of(account.by) is not None
    groups = _periods(account) if timed else list(dict.fromkeys(_name(row) for row in account.rows))
    if len(groups) > MOST_COLUMNS:
        raise UsageError(
            f"a chart of {len(groups)} columns cannot be read; expected at most {MOST_COLUMNS}",
            hint="ask for a shorter time with --from and --to, or for longer periods, for instance --by day",
        )
    series = sorted({_series(row, timed) for row in account.rows})
    title = f"Usage by {account.by or 'hour'}" + (f" ({account.zone})" if timed else "")
    return Chart(title, groups, series, list(_panels(account, timed)), timed)


def draw(found: Chart) -> Drawing:
    heights = [_body(found, panel) for panel in found.panels]
    drawing = Drawing(WIDTH, MARGIN + 28 + _legend_height(found) + sum(heights) + MARGIN, found.title)
    drawing.shapes.append(Label(MARGIN, MARGIN + 14, found.title, 18, INK, bold=True))
    top = MARGIN + 28 + _legend(drawing, found, MARGIN + 34)
    colours = _colours(found)
    for panel, height in zip(found.panels, heights, strict=True):
        drawing.shapes.append(Label(MARGIN, top + 20, panel.title, 13, INK, bold=True))
        (_columns if found.timed else _bars)(drawing, found, panel, top + HEAD, colours)
        top += height
    return drawing


def ticks(highest: float) -> list[float]:
    """From 0 on, at 1, 2 or 5 times a power of ten, at most six; the last one is `highest` or above."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return [step * number for number in range(math.ceil(highest / step - 1e-9) + 1)]


# What is shown -------------------------------------------------------------------------------------------------------


def _panels(account: Account, timed: bool) -> Iterator[Panel]:
    costs: dict[tuple[str, str], float] = defaultdict(float)
    for row in account.rows:
        costs[_group(account, row), _series(row, timed)] += row.cost
    if any(costs.values()):
        yield Panel(f"cost, {account.currency}", dict(costs), 2)
    for unit in sorted({row.unit for row in account.rows}):
        seconds = unit.endswith("_second")
        values: dict[tuple[str, str], float] = defaultdict(float)
        for row in account.rows:
            if row.unit == unit:
                values[_group(account, row), _series(row, timed)] += row.quantity / (HOUR_S if seconds else 1)
        name = (unit.removesuffix("second") + "hour" if seconds else unit).replace("_", " ") + "s"
        whole = all(value == int(value) for value in values.values())
        yield Panel(name, dict(values), 0 if whole else 2)


def _periods(account: Account) -> list[str]:
    spans = [row.span for row in account.rows if row.span]
    period = period_of(account.by) or "hour"
    if not spans:
        return []
    first, last = min(span.start for span in spans), max(span.end for span in spans)
    groups = []
    for span in covering(first, last, period, account.zone):
        groups.append(label(span, period, account.zone))
        if len(groups) > MOST_COLUMNS:
            break
    return groups


def _group(account: Account, row: Row) -> str:
    period = period_of(account.by)
    return label(row.span, period, account.zone) if row.span and period else _name(row)


def _name(row: Row) -> str:
    project = row.project if row.version is None else f"{row.project}@{row.version}"
    return " ".join(part for part in (project, row.operation, "(no key)" if row.key == "" else row.key) if part)


def _series(row: Row, timed: bool) -> str:
    return (row.project if timed else BILLED) + ("" if row.billed else UNBILLED)


def _spoken(series: str) -> str:
    return "not billed" if series == BILLED + UNBILLED else series


# How it is drawn -----------------------------------------------------------------------------------------------------


def _colours(found: Chart) -> dict[str, str]:
    names = sorted({name.removesuffix(UNBILLED) for name in found.series})
    colours = dict(zip(names, cycle(COLOURS), strict=False))
    return {name: colours.get(name) or COLOURS[colours[name.removesuffix(UNBILLED)]] for name in found.series}


def _body(found: Chart, panel: Panel) -> float:
    return HEAD + (PANEL + FOOT if found.timed else len(found.groups_of(panel)) * (BAR + GAP) + 16)


def _legend_rows(found: Chart) -> list[list[str]]:
    """Nothing for a single series of bars: there is nothing to tell apart."""
    if found.series == [BILLED]:
        return []
    rows: list[list[str]] = [[]]
    used = 0.0
    for name in found.series:
        wide = 32 + LETTER * len(_spoken(name))
        if rows[-1] and used + wide > WIDTH - 2 * MARGIN:
            rows.append([])
            used = 0.0
        rows[-1].append(name)
        used += wide
    return rows


def _legend_height(found: Chart) -> float:
    return 20.0 * len(_legend_rows(found))


def _legend(drawing: Drawing, found: Chart, top: float) -> float:
    colours = _colours(found)
    for number, names in enumerate(_legend_rows(found)):
        x, y = MARGIN, top + 20 * number
        for name in names:
            drawing.shapes += [Box(x, y - 4, 12, 12, colours[name]), Label(x + 17, y + 6, _spoken(name), fill=GREY)]
            x += 32 + LETTER * len(_spoken(name))
    return _legend_height(found)


def _columns(drawing: Drawing, found: Chart, panel: Panel, top: float, colours: dict[str, str]) -> None:
    marks = ticks(max((_height(panel, found, group) for group in found.groups), default=0.0))
    right = WIDTH - RIGHT
    for mark in marks:
        y = top + PANEL * (1 - mark / marks[-1])
        drawing.shapes += [Line(LEFT, y, right, y, GRID), Label(LEFT - 8, y + 4, f"{mark:,g}", 11, GREY, "end")]
    pitch = (right - LEFT) / max(len(found.groups), 1)
    width = min(pitch * 0.8, 48.0)
    for number, group in enumerate(found.groups):
        x, y = LEFT + pitch * (number + 0.5) - width / 2, top + PANEL
        for name in found.series:
            value = panel.values.get((group, name), 0.0)
            if value > 0:
                tall = PANEL * value / marks[-1]
                y -= tall
                drawing.shapes.append(Box(x, y, width, tall, colours[name], _tip(panel, group, name)))
    _times(drawing, found.groups, pitch, top + PANEL + 16)


def _times(drawing: Drawing, groups: Sequence[str], pitch: float, y: float) -> None:
    """As many labels as there is room for."""
    widest = max((len(group) for group in groups), default=1) * LETTER + 12
    every = max(1, math.ceil(widest / pitch))
    for number in range(0, len(groups), every):
        x = min(max(LEFT + pitch * (number + 0.5), LEFT - 40 + widest / 2), WIDTH - widest / 2)
        drawing.shapes.append(Label(x, y, groups[number], 11, GREY, "middle"))


def _bars(drawing: Drawing, found: Chart, panel: Panel, top: float, colours: dict[str, str]) -> None:
    highest = max((_height(panel, found, group) for group in found.groups), default=0.0) or 1.0
    left = MARGIN + min(NAMES, 16 + LETTER * max((len(group) for group in found.groups), default=0))
    room = WIDTH - left - 120
    for number, group in enumerate(found.groups_of(panel)):
        x, y = left, top + number * (BAR + GAP)
        drawing.shapes.append(Label(left - 8, y + 14, _cut(group, left - MARGIN), 12, INK, "end"))
        for name in found.series:
            value = panel.values.get((group, name), 0.0)
            if value > 0:
                wide = room * value / highest
                drawing.shapes.append(Box(x, y, wide, BAR, colours[name], _tip(panel, group, name)))
                x += wide
        drawing.shapes.append(Label(x + 6, y + 14, panel.told(panel.sum(group)), 12, GREY))


def _tip(panel: Panel, group: str, name: str) -> str:
    return f"{group}, {_spoken(name)}: {panel.told(panel.values[group, name])}"


def _height(panel: Panel, found: Chart, group: str) -> float:
    """Of what is drawn: a series that corrections took below nothing is not."""
    return math.fsum(max(panel.values.get((group, name), 0.0), 0.0) for name in found.series)


def _cut(text: str, room: float) -> str:
    most = int((room - 8) / LETTER)
    return text if len(text) <= most else text[: most - 1] + "…"
