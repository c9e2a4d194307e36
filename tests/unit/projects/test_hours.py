"""Cutting usage at the hours, adding it up and pricing it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenshot.projects.errors import SettingsError
from tenshot.projects.metering.hours import By, clip, rows, split, total
from tenshot.projects.metering.prices import Price, PriceList
from tenshot.projects.records import UsageRecord

HOUR = 3600.0
BASE = 1_795_000_000 // 3600 * 3600
"""An hour in 2026."""
PRICES = PriceList(
    currency="USD",
    units={
        "inference_unit_second": Price(price=4.0, per=3600, hosted=4.0),
        "image": Price(price=1.0, per=1000, hosted=None),
    },
)


def used(start: float, end: float, units: float = 1.0, **changes: Any) -> UsageRecord:
    """`units` inference units from `start` to `end`, seconds after the full hour."""
    values: dict[str, Any] = {
        "id": "u", "unit": "inference_unit_second", "project": "p", "version": 1, "operation": "serve",
        "quantity": (end - start) * units, "start": BASE + start, "end": BASE + end,
    }  # fmt: skip
    return UsageRecord(**values | changes)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(used(10, 20), [(0, 10)], id="inside an hour"),
        pytest.param(used(0, 3600), [(0, 3600)], id="exactly an hour"),
        pytest.param(used(3599, 3601), [(0, 1), (1, 1)], id="across the boundary"),
        pytest.param(used(3600, 3610), [(1, 10)], id="from the boundary"),
        pytest.param(
            used(1800, 3600 * 3 + 900, units=2), [(0, 3600), (1, 7200), (2, 7200), (3, 1800)], id="many hours"
        ),
        pytest.param(used(3600, 3600, quantity=5.0), [(1, 5)], id="a point on the boundary"),
        pytest.param(used(3599.5, 3599.5, quantity=5.0), [(0, 5)], id="a point before the boundary"),
        pytest.param(used(0, 7200, quantity=0.0), [(0, 0), (1, 0)], id="nothing"),
    ],
)
def test_split(record: UsageRecord, expected: list[tuple[int, float]]) -> None:
    found = [((hour - BASE) // 3600, quantity) for hour, quantity in split(record)]
    assert [hour for hour, _ in found] == [hour for hour, _ in expected]
    assert [quantity for _, quantity in found] == pytest.approx([quantity for _, quantity in expected])


spans = st.builds(
    lambda start, length, units: used(start, start + length, units),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(1, 8),
)


@given(spans)
def test_split_preserves_the_sum_and_fills_no_hour_over(record: UsageRecord) -> None:
    parts = list(split(record))
    assert math.fsum(quantity for _, quantity in parts) == pytest.approx(record.quantity, rel=1e-9, abs=1e-6)
    span = record.end - record.start
    units = record.quantity / span if span else 0.0
    assert all(quantity <= HOUR * units * (1 + 1e-9) + 1e-6 for _, quantity in parts if span)
    hours = [hour for hour, _ in parts]
    assert hours == [hours[0] + 3600 * i for i in range(len(hours))]
    assert hours[0] <= record.start
    assert record.end <= hours[-1] + HOUR


@given(spans, st.floats(0, 2e6))
def test_two_clips_make_the_whole(record: UsageRecord, cut: float) -> None:
    at = BASE + cut
    parts = [clip(record, None, at), clip(record, at, None)]
    quantities = [part.quantity for part in parts if part is not None]
    assert math.fsum(quantities) == pytest.approx(record.quantity, rel=1e-6, abs=1e-5)


@given(st.lists(spans, max_size=5), st.sampled_from([None, "project", "version", "operation", "hour"]))
def test_every_grouping_has_the_same_total(records: list[UsageRecord], by: By | None) -> None:
    found = rows(records, PRICES, by)
    expected = math.fsum(record.quantity for record in records)
    assert math.fsum(row.quantity for row in found) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert total(found) == pytest.approx(expected / 3600 * 4.0, rel=1e-9, abs=1e-6)


MIXED = [
    used(3590, 3610),
    used(0, 60, project="q"),
    used(5, 5, unit="image", operation="predict", quantity=500.0),
    used(5, 5, unit="image", operation="predict", quantity=250.0, version=2),
]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        pytest.param("project", [("p", 750), ("p", 20), ("q", 60)], id="project"),
        pytest.param(
            "version", [("p", 1, 500), ("p", 1, 20), ("p", 2, 250), ("q", 1, 60)], id="version"
        ),
        pytest.param("operation", [("p", "predict", 750), ("p", "serve", 20), ("q", "serve", 60)], id="operation"),
        pytest.param("hour", [(0, "p", 750), (0, "p", 10), (0, "q", 60), (1, "p", 10)], id="hour"),
        pytest.param(
            None,
            [
                (0, "p", 1, "predict", 500),
                (0, "p", 1, "serve", 10),
                (0, "p", 2, "predict", 250),
                (0, "q", 1, "serve", 60),
                (1, "p", 1, "serve", 10),
            ],
            id="everything",
        ),
    ],
)  # fmt: skip
def test_rows(by: By | None, expected: list[tuple[object, ...]]) -> None:
    def told(row: Any) -> tuple[object, ...]:
        hour = None if row.hour is None else (row.hour - BASE) // 3600
        values = (hour, row.project, row.version, row.operation)
        return (*(value for value in values if value is not None), round(row.quantity, 6))

    assert [told(row) for row in rows(MIXED, PRICES, by)] == expected


def test_row_as_json() -> None:
    (row,) = rows([used(0, 3600)], PRICES)
    document = row.to_json()
    hour = document.pop("hour")
    assert hour.startswith("2026-11-")
    assert hour.endswith(":00:00Z")
    assert document == {
        "project": "p", "version": 1, "operation": "serve", "unit": "inference_unit_second", "quantity": 3600.0,
        "cost": 4.0,
    }  # fmt: skip


def test_unit_without_a_price_is_refused() -> None:
    with pytest.raises(SettingsError, match="'imagge'") as caught:
        rows([used(0, 1, unit="imagge")], PRICES)
    assert "image" in caught.value.hint


def test_many_small_parts_add_up_exactly() -> None:
    records = [used(i, i, unit="image", quantity=0.1) for i in range(3000)]
    assert rows(records, PRICES, "project")[0].quantity == 300.0
