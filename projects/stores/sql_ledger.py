"""Meters, usage records and events in the SQL store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from tenshot.projects.errors import AlreadyExists
from tenshot.projects.records import Event, UsageRecord
from tenshot.projects.stores.sql_rows import Row, SqlPart, event_of, one, usage_of
from tenshot.projects.stores.tables import events, meters, usage, usage_offsets

ROWS_AT_ONCE = 500


class Ledger(SqlPart):
    """The methods of the contract in projects/store.py on metering and events."""

    def open_meter(
        self,
        meter_id: str,
        *,
        unit: str,
        project: str,
        version: int | None,
        operation: str,
        multiplier: float,
        at: float,
    ) -> None:
        values: dict[str, Any] = {"id": meter_id, "unit": unit, "project": project, "operation": operation}
        values |= {"version": version, "multiplier": multiplier, "opened_at": at, "beat_at": at, "closed": False}
        with self.database.write() as connection:
            self._insert_new(connection, meters, [values], "id")

    def beat_meter(self, meter_id: str, *, at: float) -> None:
        running = (meters.c.id == meter_id) & ~meters.c.closed & (meters.c.beat_at < at)
        with self.database.write() as connection:
            connection.execute(sa.update(meters).where(running).values(beat_at=at))

    def close_meter(self, meter_id: str, *, at: float | None, billed: bool = True) -> None:
        with self.database.write() as connection:
            row = one(connection, sa.select(meters).where(meters.c.id == meter_id, ~meters.c.closed))
            if row is None:
                return
            connection.execute(sa.update(meters).where(meters.c.id == meter_id).values(closed=True))
            self._append(connection, [_reading(row, row["beat_at"] if at is None else at, billed)])

    def open_meters(self) -> list[UsageRecord]:
        with self.database.read() as connection:
            return _open(connection)

    def add_usage(self, records: Iterable[UsageRecord]) -> int:
        with self.database.write() as connection:
            return self._append(connection, records)

    def add_correction(self, record: UsageRecord, *, reason: str, at: float) -> None:
        values = {"at": at, "noun": "usage", "subject": record.id, "old": "", "new": "CORRECTED", "message": reason}
        with self.database.write() as connection:
            if not self._append(connection, [record]):
                raise AlreadyExists(f"there is a usage record {record.id!r} already", id=record.id)
            connection.execute(sa.insert(events).values(values))

    def add_usage_from(self, source: str, start: int, end: int, records: Iterable[UsageRecord]) -> bool:
        with self.database.write() as connection:
            if start != _offset(connection, source) or end <= start:
                return False
            self._insert_new(connection, usage_offsets, [{"source": source, "offset_bytes": 0}], "source")
            read = sa.update(usage_offsets).where(usage_offsets.c.source == source).values(offset_bytes=end)
            connection.execute(read)
            self._append(connection, records)
            return True

    def usage_offset(self, source: str) -> int:
        with self.database.read() as connection:
            return _offset(connection, source)

    def usage(self, *, start: float | None = None, end: float | None = None) -> list[UsageRecord]:
        with self.database.read() as connection:
            rows = connection.execute(_overlapping(start, end)).mappings()
            found = [usage_of(row) for row in rows]
            running = [record for record in _open(connection) if _overlaps(record, start, end)]
        return sorted(found + running, key=lambda record: (record.start, record.id))

    def events(self, *, after: int = 0) -> list[Event]:
        with self.database.read() as connection:
            later = sa.select(events).where(events.c.id > after).order_by(events.c.id)
            return [event_of(row) for row in connection.execute(later).mappings()]

    def _append(self, connection: sa.Connection, records: Iterable[UsageRecord]) -> int:
        rows = []
        for record in records:
            values = asdict(record)
            rows.append(values | {"start_at": values.pop("start"), "end_at": values.pop("end")})
        return self._insert_new(connection, usage, rows, "id")

    def _insert_new(self, connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]], key: str) -> int:
        """Insert the rows whose key is new; how many these were."""
        dialect = sqlite if self.database.is_sqlite else postgresql
        new = 0
        for chunk in (rows[i : i + ROWS_AT_ONCE] for i in range(0, len(rows), ROWS_AT_ONCE)):
            # Asked for the keys, because not every driver counts the rows that were really inserted.
            statement = dialect.insert(table).values(chunk).on_conflict_do_nothing(index_elements=[key])
            new += len(connection.execute(statement.returning(table.c[key])).all())
        return new


def _reading(meter: Row, up_to: float, billed: bool = True) -> UsageRecord:
    end = max(up_to, meter["opened_at"])
    quantity = (end - meter["opened_at"]) * meter["multiplier"]
    where = {key: meter[key] for key in ("id", "unit", "project", "version", "operation")}
    return UsageRecord(**where, quantity=quantity, start=meter["opened_at"], end=end, billed=billed)


def _open(connection: sa.Connection) -> list[UsageRecord]:
    rows = connection.execute(sa.select(meters).where(~meters.c.closed).order_by(meters.c.opened_at)).mappings()
    return [_reading(row, row["beat_at"]) for row in rows]


def _offset(connection: sa.Connection, source: str) -> int:
    found = connection.scalar(sa.select(usage_offsets.c.offset_bytes).where(usage_offsets.c.source == source))
    return int(found or 0)


def _overlapping(start: float | None, end: float | None) -> sa.Select[Any]:
    chosen = sa.select(usage)
    if end is not None:
        chosen = chosen.where(usage.c.start_at < end)
    if start is not None:
        chosen = chosen.where((usage.c.end_at > start) | (usage.c.start_at >= start))
    return chosen


def _overlaps(record: UsageRecord, start: float | None, end: float | None) -> bool:
    """[record.start, record.end) and [start, end) meet; a record without length lies at its start."""
    return (end is None or record.start < end) and (start is None or record.end > start or record.start >= start)
