"""Cutting usage at any boundary, adding it up, and pricing it by the tiers of a month."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenshot.projects.errors import SettingsError
from tenshot.projects.metering import commands
from tenshot.projects.metering.bill import By, Piece, cut, hosted_total, hourly, rows, split, total
from tenshot.projects.metering.periods import PERIODS, Period, zone
from tenshot.projects.metering.prices import GRAIN, Price, PriceList, grains
from tenshot.projects.records import UsageRecord

BASE = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
CHANGES = [  # seconds since the epoch around which something happens to clocks or calendars
    datetime(2026, 3, 29, 1, tzinfo=UTC).timestamp(),
    datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp(),
    datetime(2024, 2, 29, tzinfo=UTC).timestamp(),
    datetime(2026, 12, 31, 23, 30, tzinfo=UTC).timestamp(),
    datetime(2027, 1, 1, tzinfo=UTC).timestamp(),
]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/New_York"]


def price(**changes: Any) -> Price:
    return Price.model_validate({"price": 0, "per": 1, "hosted": None} | changes)


PRICES = PriceList(
    currency="USD",
    units={
        "inference_unit_second": price(price=4.0, per=3600, hosted=4.0),
        "image": price(
            per=1000,
            free=100,
            price=[{"units": 1000, "price": 1.0}, {"units": 500, "price": 0.7}, {"price": 0.3}],
            hosted={"price": [{"units": 700, "price": 2.0}, {"price": 1.0}]},
        ),
        "video_minute": price(price=0.1),
    },
)


def used(start: float, end: float, units: float = 1.0, **changes: Any) -> UsageRecord:
    """`units` inference units from `start` to `end`, seconds after BASE."""
    values: dict[str, Any] = {
        "id": "u", "unit": "inference_unit_second", "project": "p", "version": 1, "operation": "serve",
        "quantity": (end - start) * units, "start": BASE + start, "end": BASE + end,
    }  # fmt: skip
    return UsageRecord(**values | changes)


def images(start: float, quantity: float, **changes: Any) -> UsageRecord:
    return used(start, start, unit="image", operation="predict", quantity=quantity, **changes)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(used(10, 20), [(0, 10)], id="inside an hour"),
        pytest.param(used(0, 3600), [(0, 3600)], id="exactly an hour"),
        pytest.param(used(3599, 3601), [(0, 1), (1, 1)], id="across the boundary"),
        pytest.param(used(3600, 3610), [(1, 10)], id="from the boundary"),
        pytest.param(used(1800, 11700, units=2), [(0, 3600), (1, 7200), (2, 7200), (3, 1800)], id="many hours"),
        pytest.param(used(3600, 3600, quantity=5.0), [(1, 5)], id="a point on the boundary"),
        pytest.param(used(3599.5, 3599.5, quantity=5.0), [(0, 5)], id="a point before the boundary"),
        pytest.param(used(0, 7200, quantity=-4.0), [(0, -2), (1, -2)], id="taken back"),
    ],
)
def test_hourly(record: UsageRecord, expected: list[tuple[int, float]]) -> None:
    found = [((piece.start - BASE) // 3600, (piece.high - piece.low) / GRAIN) for piece in hourly(record)]
    assert found == expected


records = st.builds(
    lambda change, before, length, quantity: UsageRecord(
        "u", "inference_unit_second", "p", 1, "serve", quantity, change - before, change - before + length
    ),
    st.sampled_from(CHANGES),
    st.floats(0, 2e5),
    st.floats(0, 4e5),
    st.floats(-1e7, 1e7),
)


def size(pieces: list[Piece]) -> int:
    return sum(piece.high - piece.low for piece in pieces)


@settings(deadline=None, max_examples=60)
@given(records, st.sampled_from(PERIODS), st.sampled_from(ZONES))
def test_parts_add_up_to_the_whole_exactly(record: UsageRecord, period: Period, name: str) -> None:
    pieces = list(hourly(record))
    assert size(pieces) == grains(record.quantity)
    parts = [(span, part) for piece in pieces for span, part in split(piece, period, zone(name))]
    assert size([part for _, part in parts]) == grains(record.quantity)
    for span, part in parts:
        assert span.start <= part.start <= part.end <= span.end
        share = (part.end - part.start) / (record.end - record.start or 1)
        if record.start < record.end:
            assert (part.high - part.low) / GRAIN == pytest.approx(record.quantity * share, rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(records, st.floats(0, 1))
def test_two_cuts_make_the_whole_exactly(record: UsageRecord, where: float) -> None:
    at = record.start + (record.end - record.start) * where
    parts = [part for piece in hourly(record) for part in (cut(piece, None, at), cut(piece, at, None)) if part]
    assert size(parts) == grains(record.quantity)


groupings = st.sampled_from([None, *get_args(By)])
mixes = st.lists(
    st.one_of(
        st.builds(
            lambda at, quantity, project, key, billed: images(
                at, quantity, project=project, key=key, billed=billed, id=f"{at}{quantity}{project}{key}"
            ),
            st.floats(-3e6, 3e6),
            st.integers(1, 900),
            st.sampled_from("pq"),
            st.sampled_from(["", "k"]),
            st.booleans(),
        ),
        st.builds(lambda at, length: used(at, at + length), st.floats(-3e6, 3e6), st.floats(0, 9e5)),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=40)
@given(mixes, groupings, groupings, st.sampled_from(ZONES))
def test_totals_do_not_depend_on_the_grouping_and_are_the_sum_of_the_rows(
    mix: list[UsageRecord], one: By | None, other: By | None, name: str
) -> None:
    first, second = rows(mix, PRICES, one, tz=zone(name)), rows(mix, PRICES, other)
    assert total(first) == total(second)
    assert hosted_total(first) == hosted_total(second)
    assert sum((Decimal(str(row.cost)) for row in first), Decimal(0)) == Decimal(str(total(first)))
    for unit in {record.unit for record in mix}:
        expected = Fraction(sum(grains(record.quantity) for record in mix if record.unit == unit), GRAIN)
        found = sum(grains(row.quantity) for row in first if row.unit == unit)
        assert Fraction(found, GRAIN) == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=40)
@given(mixes, st.floats(-3e6, 3e6), st.randoms())
def test_costs_of_two_spans_make_the_whole_in_any_order(
    mix: list[UsageRecord], where: float, order: random.Random
) -> None:
    whole = total(rows(mix, PRICES))
    order.shuffle(mix)
    parts = [rows(mix, PRICES, "project", end=BASE + where), rows(mix, PRICES, "day", start=BASE + where)]
    assert sum(map(total, parts)) == pytest.approx(whole, abs=3e-9)


@pytest.mark.parametrize(
    ("quantities", "cost", "hosted"),
    [
        pytest.param([50], 0.0, 0.1, id="free"),
        pytest.param([100], 0.0, 0.2, id="all that is free"),
        pytest.param([1100], 1.0, 1.8, id="first tier"),
        pytest.param([1600], 1.35, 2.3, id="second tier"),
        pytest.param([600, 1000, 400], 1.47, 2.7, id="over three tiers, in pieces"),
        pytest.param([2000, -500], 1.28, 2.2, id="taken back from the last tier"),
    ],
)
def test_tiers(quantities: list[float], cost: float, hosted: float) -> None:
    found = rows([images(number, quantity, id=str(number)) for number, quantity in enumerate(quantities)], PRICES)
    assert total(found) == pytest.approx(cost)
    assert hosted_total(found) == pytest.approx(hosted)


def test_tiers_are_those_of_the_whole_workspace_and_of_the_calendar_month() -> None:
    day = 86400.0
    mix = [
        images(0, 1100, project="p", id="a"),
        images(5, 500, project="q", id="b"),
        images(8 * day, 1100, project="p", id="c"),
    ]
    by_project = {row.project: row.cost for row in rows(mix, PRICES, "project")}
    assert by_project == pytest.approx({"p": 2.0, "q": 0.35}), "q comes second in November; December begins anew"
    (alone,) = rows(mix, PRICES, "project", start=BASE + 1, end=BASE + 10)
    assert (alone.project, alone.cost) == ("q", pytest.approx(0.35)), "looked at alone, it costs the same"


def test_what_is_not_billed_has_a_row_of_its_own_and_takes_no_place_in_the_tiers() -> None:
    mix = [images(0, 5000, billed=False, id="a"), images(1, 1100, id="b")]
    paid, shown = rows(mix, PRICES, "project")
    assert (paid.billed, paid.quantity, paid.cost) == (True, 1100.0, pytest.approx(1.0))
    assert (shown.billed, shown.quantity, shown.cost, shown.hosted) == (False, 5000.0, 0.0, 0.0)


def test_a_correction_nets_out_in_its_group() -> None:
    record = used(0, 7200)
    found = rows([record, used(0, 7200, quantity=-7200.0, id="correction")], PRICES, "hour")
    assert [(row.quantity, row.cost) for row in found] == [(0.0, 0.0), (0.0, 0.0)]


MIXED = [
    used(3590, 3610, key="k"),
    used(0, 60, project="q"),
    images(5, 500),
    images(5, 250, version=2, key="k"),
]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        pytest.param("project", [("p", 750), ("p", 20), ("q", 60)], id="project"),
        pytest.param("version", [("p", 1, 500), ("p", 1, 20), ("p", 2, 250), ("q", 1, 60)], id="version"),
        pytest.param("operation", [("p", "predict", 750), ("p", "serve", 20), ("q", "serve", 60)], id="operation"),
        pytest.param("key", [("p", "", 500), ("p", "k", 250), ("p", "k", 20), ("q", "", 60)], id="key"),
        pytest.param("hour", [(0, "p", 750), (0, "p", 10), (0, "q", 60), (1, "p", 10)], id="hour"),
        pytest.param("day", [(-12, "p", 750), (-12, "p", 20), (-12, "q", 60)], id="day"),
        pytest.param(
            None,
            [
                (0, "p", 1, "predict", "", 500),
                (0, "p", 1, "serve", "k", 10),
                (0, "p", 2, "predict", "k", 250),
                (0, "q", 1, "serve", "", 60),
                (1, "p", 1, "serve", "k", 10),
            ],
            id="everything",
        ),
    ],
)
def test_rows(by: By | None, expected: list[tuple[object, ...]]) -> None:
    def told(row: Any) -> tuple[object, ...]:
        hour = None if row.span is None else (row.span.start - BASE) // 3600
        values = (hour, row.project, row.version, row.operation, row.key)
        return (*(value for value in values if value is not None), row.quantity)

    assert [told(row) for row in rows(MIXED, PRICES, by)] == expected


def test_row_as_json() -> None:
    (row,) = rows([used(0, 3600)], PRICES)
    assert row.to_json() == {
        "from": "2026-11-23T12:00:00Z", "to": "2026-11-23T13:00:00Z", "hour": "2026-11-23T12:00:00Z",
        "project": "p", "version": 1, "operation": "serve", "key": "", "unit": "inference_unit_second",
        "billed": True, "quantity": 3600.0, "cost": 4.0, "hosted": 4.0,
    }  # fmt: skip
    berlin = zone("Europe/Berlin")
    (day,) = rows([used(0, 3600)], PRICES, "day", tz=berlin)
    document = day.to_json("day", berlin)
    assert (document["from"], document["hour"]) == ("2026-11-23T00:00:00+01:00", None)


def test_unit_without_a_price_is_refused() -> None:
    with pytest.raises(SettingsError, match="'imagge'") as caught:
        rows([used(0, 1, unit="imagge")], PRICES)
    assert "image" in caught.value.hint


def test_many_small_parts_add_up_exactly() -> None:
    small = [used(i, i, unit="video_minute", quantity=0.1) for i in range(3000)]
    (row,) = rows(small, PRICES, "project")
    assert (row.quantity, row.cost) == (300.0, 30.0)


def test_command_knows_all_groupings() -> None:
    assert get_args(commands.Grouping) == get_args(By)
