"""How a measurement looks: in the terminal, and as files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenshot.serving.benching.bench import Report
    from tenshot.serving.benching.figures import Recommendation, Stage

BAR = 14
"""Width of a bar, characters: the table fits 80 columns."""
WIDTH, HEIGHT, LEFT, TOP = 360, 220, 56, 48
"""Of a panel's drawing area, and what is left of it and above it; pixels."""
PANEL = WIDTH + LEFT + 34
RISES, WAITS = "#1f6f8b", "#b5532a"


def view(report: Report) -> list[Any]:
    """Rich renderables."""
    from rich.text import Text

    lines = [Text(_sent(report), "dim")]
    if report.interrupted:
        lines.append(Text("interrupted: this is what was measured so far", "yellow"))
    if not report.stages:
        return [*lines, "nothing was measured"]
    failed = [Text(line, "red") for one in report.stages for line in _failures(one)]
    own = max(one.client_cores for one in report.stages)
    told = Text(f"the load generator itself took up to {own:.2f} of {report.cores} cores", "dim")
    return [*lines, _table(report.stages), *_curve(report.stages), *failed, told, *map(Text, conclusions(report))]


def conclusions(report: Report) -> Iterator[str]:
    """What the figures mean, in words."""
    knee = report.knee
    if knee is None:
        yield "nothing was answered"
        return
    unit = "unit" if knee.units == 1 else f"each of {knee.units} units"
    yield (
        f"The knee is at {knee.clients} client{'s' if knee.clients > 1 else ''}: {knee.per_second:.1f} requests/s "
        f"({knee.per_second / max(1, knee.units):.1f} a {unit}), p95 {knee.p95_ms or 0:.0f} ms. "
        "More clients only wait longer."
    )
    if report.recommendation:
        yield advice(report.recommendation)


def advice(wanted: Recommendation) -> str:
    units = f"{wanted.units} unit{'s' if wanted.units > 1 else ''}"
    said = f"For {wanted.rate:g} requests/s take {units} (with {wanted.headroom - 1:.0%} to spare)."
    if wanted.enough:
        return f"{said} They keep {wanted.cores_needed:.1f} of this machine's {wanted.cores} cores busy."
    return (
        f"{said} This machine's {wanted.cores} cores would not do: that keeps {wanted.cores_needed:.1f} cores busy, "
        f"about {wanted.machines} such machines."
    )


def save(report: Report, folder: Path) -> list[Path]:
    """`bench.json` and, where anything was measured, `bench.svg`; what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"bench.json": json.dumps(report.to_json(), indent=2) + "\n"}
    if report.stages:
        files["bench.svg"] = svg(report.ref, report.stages)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    return [folder / name for name in files]


def _sent(report: Report) -> str:
    formats = ", ".join(f"{count} {name}" for name, count in report.images["formats"].items())
    size = f"{report.images['median_bytes'] / 1000:.0f} kB in the middle"
    return f"{report.ref} at {report.url}, driven with {formats} ({size}); they count in the ledger"


def _table(stages: Sequence[Stage]) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for heading in ("clients", "units", "requests/s", "p50 ms", "p95 ms", "p99 ms", "failed", "cores", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in stages:
        latencies = ("–" if ms is None else f"{ms:.1f}" for ms in (one.p50_ms, one.p95_ms, one.p99_ms))
        cores = "–" if one.cores is None else f"{one.cores:.2f}"
        memory = "–" if one.memory_bytes is None else f"{one.memory_bytes / 1e6:.0f} MB"
        head = (str(one.clients), str(one.units), f"{one.per_second:.1f}")
        table.add_row(*head, *latencies, str(one.failures), cores, memory)
    return table


def _curve(stages: Sequence[Stage]) -> list[Any]:
    """Throughput and p95 against clients, as bars."""
    from rich.bar import Bar
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("clients", justify="right")
    table.add_column("requests/s", width=2 * BAR)
    table.add_column("p95", width=2 * BAR)
    most = max(one.per_second for one in stages) or 1.0
    longest = max(one.p95_ms or 0.0 for one in stages) or 1.0
    for one in stages:
        rises, waits = one.per_second, one.p95_ms or 0.0
        table.add_row(
            str(one.clients), Bar(most, 0, rises, color="cyan"), Bar(longest, 0, waits, color="bright_yellow")
        )
    return ["", table, ""]


def _failures(one: Stage) -> Iterator[str]:
    for reason, count in one.failed.items():
        yield f"{one.clients} clients: {count} × {reason}"


# As a picture -----------------------------------------------------------------------------------------------------


def svg(ref: str, stages: Sequence[Stage]) -> str:
    """Two curves against the number of clients: throughput, and p95 with p50 dotted below it."""
    throughput = [(one.clients, one.per_second) for one in stages]
    p95 = [(one.clients, one.p95_ms or 0.0) for one in stages]
    p50 = [(one.clients, one.p50_ms or 0.0) for one in stages]
    panels = _panel(0, "requests/s", throughput, RISES) + _panel(1, "p95 (dotted: p50), ms", p95, WAITS, p50)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * PANEL} {TOP + HEIGHT + 44}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="#222">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<text x="{LEFT}" y="18" font-size="15">{escape(ref)}</text>\n{panels}</svg>\n'
    )


def _panel(
    number: int,
    title: str,
    points: Sequence[tuple[int, float]],
    colour: str,
    second: Sequence[tuple[int, float]] = (),
) -> str:
    most = _round_up(max(value for _, value in points) or 1.0)
    widest = max(clients for clients, _ in points)

    def place(clients: float, value: float) -> tuple[float, float]:
        return LEFT + WIDTH * clients / widest, TOP + HEIGHT * (1 - value / most)

    parts = [f'<g transform="translate({number * PANEL} 0)">', f'<text x="{LEFT}" y="{TOP - 10}">{title}</text>']
    for step in range(5):
        _, y = place(0, most * step / 4)
        parts.append(f'<path d="M{LEFT} {y:.1f}h{WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{most * step / 4:g}</text>')
    for clients, _ in points:
        x, y = place(clients, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{clients}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 36}" text-anchor="middle">clients</text>')
    for line, dash in ((second, ' stroke-dasharray="2 4"'), (points, "")):
        if line:
            path = " L".join("{:.1f} {:.1f}".format(*place(*point)) for point in line)
            parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
    for point in points:
        x, y = place(*point)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"><title>{point[1]:.1f}</title></circle>'
        )
    return "\n".join([*parts, "</g>\n"])


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 8 times a power of ten: four even steps below it have short names."""
    power = 10.0 ** len(str(int(value))) / 10 if value >= 1 else 0.001
    while True:
        for step in (1, 2, 4, 8):
            if step * power >= value:
                return step * power
        power *= 10
