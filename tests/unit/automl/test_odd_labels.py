"""Labels that look like markup or formulas are shown as they are."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from tenshot.automl import assess, listing
from tenshot.automl.tracking import confusion_figure

ODD = ("[/b]", "[red]apple", "$\\bad$ and $5", "<b>&amp;")


def shown(parts: list[Any]) -> str:
    console = Console(file=io.StringIO(), width=300)
    for part in parts:
        console.print(part)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def training() -> list[Any]:
    document: dict[str, Any] = {
        "project": "p", "version": 1, "measured_on": "test split", "metrics": {"accuracy": 0.5}, "intervals": {},
        "unproven": [], "primary": "accuracy", "thresholds": dict.fromkeys(ODD, 0.5), "trials": 1, "seconds": 1.0,
        "warnings": ["about [/b]"],
    }  # fmt: skip
    return listing.training_view(document)


def evaluation() -> list[Any]:
    rows = [{"label": label, "images": 1, "threshold": 0.5} for label in ODD]
    found: dict[str, Any] = {
        "version": "p@1", "images": 4, "metrics": {}, "intervals": {}, "unproven": [], "labels": rows,
        "refused_count": 1, "unknown_labels": ["[/b] too"],
    }  # fmt: skip
    return assess.view(found)


def versions() -> list[Any]:
    row = {"version": 1, "aliases": [], "status": "TRAINING_FAILED", "message": " ".join(ODD), "seconds": None,
           "created": "now", "value": None, "measured_on": None}  # fmt: skip
    return [listing.table([row])]


@pytest.mark.parametrize("view", [training, evaluation, versions])
def test_shown_as_they_are(view: Callable[[], list[Any]]) -> None:
    text = shown(view())
    assert all(label in text for label in ODD)


@pytest.mark.filterwarnings("error")
def test_drawn_as_they_are() -> None:
    figure = confusion_figure([[1, 0, 0, 0]] * 4, ODD)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    assert out.getvalue()
    (axes,) = figure.axes
    assert tuple(text.get_text() for text in axes.get_yticklabels()) == ODD
