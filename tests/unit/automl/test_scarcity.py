"""Warnings before a training."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tenshot.automl.training.scarcity import warnings_of
from tenshot.datasets.annotations import Box, Entry


def photo(name: str, *labels: str, boxes: Sequence[Box] = ()) -> Entry:
    return Entry(name, f"{name}.png", 640, 480, "train", labels, tuple(boxes))


def square(label: str, side: float) -> Box:
    return Box(label, 0.1, 0.1, side, side)


@pytest.mark.parametrize(
    ("entries", "groups", "expected"),
    [
        pytest.param([photo("a", "x"), photo("b", "x")], {"a": 0, "b": 1}, [], id="enough"),
        pytest.param([photo("a", "x"), photo("b", "x"), photo("c", "y")], {"a": 0, "b": 1, "c": 2},
                     ["'y' is in one image only"], id="one image"),
        pytest.param([photo("a", "x"), photo("b", "x")], {"a": 0, "b": 0},
                     ["'x' is only in near duplicates of one image"], id="near duplicates"),
        pytest.param([photo(str(k), f"l{k}") for k in range(7)], {str(k): k for k in range(7)},
                     ["7 labels ('l0', 'l1', 'l2', 'l3', 'l4', …) are in one image only"], id="many"),
        pytest.param([photo("a", boxes=[square("x", 0.5), square("x", 0.001)]), photo("b", boxes=[square("x", 0.5)])],
                     {"a": 0, "b": 1}, ["1 of 3 boxes are a few pixels"], id="tiny box"),
        pytest.param([photo("a"), photo("b")], {"a": 0, "b": 1}, [], id="negatives"),
    ],
)  # fmt: skip
def test_warnings(entries: list[Entry], groups: dict[str, int], expected: list[str]) -> None:
    found = warnings_of(entries, groups)
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))
