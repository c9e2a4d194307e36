"""Stored images that are missing or damaged."""

from __future__ import annotations

from collections.abc import Iterator

from tenshot.datasets.findings import Finding, Inspection, finding


def check(found: Inspection) -> Iterator[Finding]:
    bad = [f"{entry.name}: {found.broken[entry.image]}" for entry in found.entries if entry.image in found.broken]
    if bad:
        yield finding("error", "unreadable", f"{len(bad)} stored images cannot be read", "import them again", bad)
