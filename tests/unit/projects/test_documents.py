"""JSON on stdout that every program can read."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest

from tenshot.projects import console
from tenshot.projects.documents import dumps


def test_numbers_that_json_does_not_know_are_null() -> None:
    text = dumps({"a": float("nan"), "b": [float("inf"), 1.5], "c": {"d": (float("-inf"),)}})
    assert json.loads(text) == {"a": None, "b": [None, 1.5], "c": {"d": [None]}}


@pytest.mark.parametrize(
    ("encoding", "name", "printed"),
    [
        pytest.param("utf-8", "Zürich", "Zürich", id="as it is"),
        pytest.param("ascii", "Zürich", "Z\\u00fcrich", id="stdout in another encoding"),
        pytest.param("utf-8", "a\udcff", "a\\udcff", id="a file name that is no text"),
    ],
)
def test_any_name_can_be_printed(monkeypatch: pytest.MonkeyPatch, encoding: str, name: str, printed: str) -> None:
    raw = io.BytesIO()
    out: Any = io.TextIOWrapper(raw, encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    console.write({"image": name})
    out.flush()
    assert raw.getvalue().decode(encoding) == f'{{"image": "{printed}"}}\n'
    assert json.loads(raw.getvalue().decode(encoding)) == {"image": name}
