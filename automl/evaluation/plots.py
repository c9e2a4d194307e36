"""The report's plots as inline SVG whose colours are CSS variables, so that they follow the page into dark mode."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tenshot.automl.evaluation.growth import Forecast

Point = tuple[float, float]

WIDTH_IN, HEIGHT_IN, LEGEND_ROW_IN = 4.7, 3.3, 0.19
MOST_SERIES = 8
# Each colour is a stand-in that `_inline` replaces by a CSS variable of report.css.
INK, FAINT = "#0a0b01", "#0a0b02"
SERIES = tuple(f"#0a0c{i:02x}" for i in range(1, MOST_SERIES + 1))
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)))
_VARIABLES = {INK: "var(--ink)", FAINT: "var(--line)"} | {c: f"var(--s{i})" for i, c in enumerate(SERIES, 1)}
_STYLE = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "font.size": 10,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def precision_recall(curves: Mapping[str, Mapping[str, Sequence[float]]], marks: Mapping[str, Point]) -> str:
    """Precision over recall, a line per label; `marks` are label → (recall, precision) at the threshold."""

    def draw(axes: Axes) -> None:
        for i, (label, curve) in enumerate(list(curves.items())[:MOST_SERIES]):
            recall, precision = [0.0, *curve["recall"]], [curve["precision"][0], *curve["precision"]]
            axes.plot(recall, precision, label=_short(label), linewidth=1.8, **_look(i))
            if label in marks:
                axes.plot(*marks[label], marker="o", markersize=6, color=SERIES[i])
        _unit_square(axes, "recall", "precision")
        _legend(axes)

    return _plot("pr", draw)


def reliability(after: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]]) -> str:
    """Share that came true over confidence, before and after calibration, and how many scores each bin holds."""
    figure, (axes, bars) = _figure(2, height_ratios=(3, 1))
    with _rc():
        axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=(0, (2, 2)), label="perfect")
        for i, (name, bins) in enumerate((("after", after), ("before", before))):
            x, y = [b["confidence"] for b in bins], [b["correct"] for b in bins]
            axes.plot(x, y, marker="os"[i], markersize=5, linewidth=1.8, label=name, **_look(i))
        _unit_square(axes, "", "share that came true")
        axes.tick_params(labelbottom=False)
        axes.legend(loc="upper left")
        counts = [b["count"] for b in after]
        bars.bar([b["low"] + 0.05 for b in after], counts, width=0.085, color=SERIES[0])
        for b in after:
            bars.text(b["low"] + 0.05, b["count"], _thousands(b["count"]), ha="center", va="bottom", fontsize=8)
        bars.set(xlim=(-0.02, 1.02), ylim=(0, max([1, *counts]) * 1.45), xlabel="confidence", ylabel="count")
        bars.set_yticks([])
    return _inline(figure, "reliability")


def search(values: Sequence[Point], spreads: Sequence[float | None], name: str) -> str:
    """Score of each trial (number, value) with its spread over the folds, and the best so far."""

    def draw(axes: Axes) -> None:
        x, y = np.array([v[0] for v in values]), np.array([v[1] for v in values])
        spread = np.array([s or 0.0 for s in spreads])
        axes.errorbar(x, y, spread, fmt="o", markersize=4, color=SERIES[0], elinewidth=0.8, label="trial ± sd of folds")
        axes.step(x, np.maximum.accumulate(y), where="post", color=SERIES[1], linewidth=2, label="best so far")
        axes.set(xlabel="trial", ylabel=name)
        axes.locator_params(axis="x", integer=True)
        _legend(axes)

    return _plot("search", draw)


def lines(series: Sequence[tuple[str, Sequence[Point]]], heading: str, number: int) -> str:
    """Values over training steps, a line per series; no legend that would only repeat the heading."""

    def draw(axes: Axes) -> None:
        for i, (label, points) in enumerate(series[:MOST_SERIES]):
            marker = "o" if len(points) < 3 else None
            xy = np.array(points, float).reshape(-1, 2)
            axes.plot(xy[:, 0], xy[:, 1], label=_short(label), linewidth=1.8, marker=marker, **_look(i))
        axes.set(xlabel="step")
        if [label for label, _ in series] != [heading]:
            _legend(axes)

    return _plot(f"lines{number}", draw)


def growth(forecast: Forecast, name: str) -> str:
    """Score over training images per label: the points, the range of the power law through them, now and ten more."""

    def draw(axes: Axes) -> None:
        n, low, high = (np.array(column) for column in zip(*forecast.curve, strict=True))
        axes.fill_between(n, low, high, color=SERIES[0], alpha=0.22, linewidth=0, label="expected, 90 % range")
        x, y, sd = (np.array(column) for column in zip(*forecast.points, strict=True))
        axes.errorbar(x, y, sd, fmt="o", markersize=5, color=SERIES[1], elinewidth=1, label="cross-validated ± sd")
        ends = [forecast.now, forecast.now + forecast.more]
        axes.plot(ends, [forecast.score, forecast.later], linestyle=(0, (5, 2)), color=SERIES[2], linewidth=1.4)
        axes.plot(*zip((ends[0], forecast.score), strict=True), marker="s", color=SERIES[2], linestyle="", label="now")
        later = f"{forecast.more} more of each"
        axes.plot(*zip((ends[1], forecast.later), strict=True), marker="D", color=SERIES[2], linestyle="", label=later)
        bottom = max(0.0, min([*low, *(y - sd)]) - 0.05)
        axes.set(xlabel="training images per label", ylabel=name, xlim=(0, ends[1] * 1.05), ylim=(bottom, 1.02))
        _legend(axes)

    return _plot("growth", draw)


def _plot(name: str, draw: Any) -> str:
    figure, (axes,) = _figure(1)
    with _rc():
        draw(axes)
    return _inline(figure, name)


def _rc() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(_STYLE)


def _figure(rows: int, height_ratios: tuple[int, ...] = (1,)) -> tuple[Any, tuple[Any, ...]]:
    from matplotlib.figure import Figure  # not pyplot: no global state, no display

    with _rc():
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN + 0.6 * (rows - 1)), layout="constrained")
        axes = figure.subplots(rows, 1, squeeze=False, height_ratios=height_ratios)[:, 0]
    return figure, tuple(axes)


def _inline(figure: Any, name: str) -> str:
    """The figure as an <svg> element: no prolog, no metadata, no fixed size, ids of its own."""
    buffer = io.StringIO()
    with _rc():
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]+)"[^>]*>', r'<svg class="plot" role="img" viewBox="\1">', svg, count=1)
    svg = re.sub(r' id="[a-zA-Z.]+[0-9]*_\d+"', "", svg)
    prefix = re.sub(r"\W", "-", name)
    svg = re.sub(r'((?:xlink:)?href="#|url\(#| id=")', rf"\g<1>{prefix}-", svg).replace("xlink:href", "href")
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for stand_in, variable in _VARIABLES.items():
        svg = svg.replace(stand_in, variable)
    return svg


def _look(i: int) -> dict[str, Any]:
    return {"color": SERIES[i % len(SERIES)], "linestyle": DASHES[i % len(DASHES)]}


def _unit_square(axes: Any, x: str, y: str) -> None:
    ticks = np.linspace(0, 1, 6)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xlabel=x, ylabel=y, xticks=ticks, yticks=ticks)


def _legend(axes: Any) -> None:
    """Below the axes: a legend inside them hides data."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = 1 if max(map(len, labels)) > 22 else 2
        # Without the extra height the legend would squeeze the axes.
        axes.figure.set_figheight(HEIGHT_IN + LEGEND_ROW_IN * ((len(labels) - 1) // columns))
        axes.figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def _short(text: str, most: int = 34) -> str:
    # A leading underscore would hide the entry from matplotlib's legend.
    shown = text if len(text) <= most else text[: most - 1] + "…"
    return "\u200b" + shown if shown.startswith("_") else shown


def _thousands(count: int) -> str:
    return f"{count / 1000:.0f}k" if count >= 10_000 else f"{count}"
