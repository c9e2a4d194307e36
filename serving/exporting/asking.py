"""Asking a server that an export is, and seeing what it takes meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tenshot.projects.errors import ExportError
from tenshot.serving.exporting.alone import Alone
from tenshot.serving.exporting.form import Answer, Observed

REQUEST_TIMEOUT_S = 120.0


def through_http(
    alone: Alone,
    words: Sequence[str | Path],
    cwd: Path,
    images: Sequence[Path],
    min_confidence: Sequence[float | None],
    observed: Observed,
    environ: dict[str, str] | None = None,
) -> list[list[Answer]]:
    """Start the server, ask it for every image, stop it; fills `observed`. Raises ExportError."""
    import httpx

    began = time.monotonic()
    with alone.server(*words, cwd=cwd, environ=environ) as server:
        observed.start_s = time.monotonic() - began
        before, _ = _taken(server.pid)
        with httpx.Client(base_url=server.address, timeout=REQUEST_TIMEOUT_S, trust_env=False) as client:
            found = [[_ask(client, path, least) for path in images] for least in min_confidence]
        after, memory = _taken(server.pid)
    observed.memory_bytes = memory
    observed.cpu_s_per_image = max(0.0, after - before) / max(1, len(images) * len(min_confidence))
    return found


def _ask(client: Any, path: Path, least: float | None) -> Answer:
    import httpx

    options = {} if least is None else {"min_confidence": str(least)}
    headers = {"Content-Type": "application/octet-stream"}
    try:
        answer = client.post("/predict", content=path.read_bytes(), params=options, headers=headers)
        document = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ExportError(f"the export's server did not answer for {path.name}: {error}") from None
    if answer.status_code == 400 and "error" in document:
        return {"labels": [], "error": document["error"]}
    if answer.status_code != 200:
        raise ExportError(f"the export's server answered {answer.status_code} for {path.name}: {str(document)[:300]}")
    entry: Answer = document["images"][0]
    return entry


def _taken(pid: int) -> tuple[float, int]:
    """CPU seconds so far, and bytes of memory, of a process and all below it."""
    import psutil

    seconds, memory = 0.0, 0
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):
                times = process.cpu_times()
                seconds += times.user + times.system
                memory += process.memory_info().rss
    return seconds, memory
