"""Where benchmarks write what they found: stdout and docs/benchmarks.md, with command, machine and date."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def append(title: str, command: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table and add it to the page under `title`."""
    lines = [_row(headings), _row(["---"] * len(headings)), *map(_row, rows)]
    table = "\n".join(lines)
    sys.stdout.write(table + "\n")
    date = datetime.now(UTC).date().isoformat()
    with PAGE.open("a", encoding="utf-8") as page:
        page.write(f"\n### {title}\n\n`{command}` · {machine()} · {date}\n\n{table}\n")


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    gpu = "a GPU that Tenshot does not use" if Path("/proc/driver/nvidia").exists() else "no GPU"
    return f"{os.cpu_count()} cores, {model}, {gpu}, Python {platform.python_version()}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
