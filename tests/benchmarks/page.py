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
    text = table(headings, rows)
    sys.stdout.write(text + "\n")
    with PAGE.open("a", encoding="utf-8") as page:
        page.write(f"\n### {title}\n\n`{command}` · {machine()} · {today()}\n\n{text}\n")


def put(name: str, text: str, path: Path = PAGE) -> None:
    """Print a piece of Markdown and put it between the page's markers `<!-- name -->` and `<!-- /name -->`, in place of
    what stands there; at the end of the page where it has no such markers."""
    sys.stdout.write(text + "\n")
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    whole = path.read_text("utf-8") if path.is_file() else ""
    if begin not in whole or end not in whole:
        whole = f"{whole.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    before, _, rest = whole.partition(begin)
    _, _, after = rest.partition(end)
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([_row(headings), _row(["---"] * len(headings)), *map(_row, rows)])


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    gpu = "a GPU that Tenshot does not use" if Path("/proc/driver/nvidia").exists() else "no GPU"
    return f"{os.cpu_count()} cores, {model}, {gpu}, Python {platform.python_version()}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
