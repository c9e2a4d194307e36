"""Images whose sizes differ a lot."""

from __future__ import annotations

from collections.abc import Iterator

from tenshot.datasets.findings import Finding, Inspection, finding

SIZE_SPREAD = 4.0
"""Longer side of the largest image over that of the smallest."""


def check(found: Inspection) -> Iterator[Finding]:
    if not found.entries:
        return
    ordered = sorted(found.entries, key=lambda entry: max(entry.width_px, entry.height_px))
    small, large = ordered[0], ordered[-1]
    if max(large.width_px, large.height_px) / max(small.width_px, small.height_px) >= SIZE_SPREAD:
        message = "image sizes differ a lot: " + " to ".join(f"{e.width_px}×{e.height_px} px" for e in (small, large))
        advice = "objects should look alike in size in training and use; scale or tile the large ones"
        yield finding("info", "sizes", message, advice, [small.name, large.name])
