"""Taking back what a record says too much: a new record with a negative quantity. No record is ever changed."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from tenshot.projects.errors import RecordNotFound, UsageError, did_you_mean
from tenshot.projects.metering import journal, periods
from tenshot.projects.records import UsageRecord

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

NOUN = "usage"
"""Of the events that hold the reasons."""


def take_back(
    workspace: Workspace, record_id: str, *, reason: str, at: float, quantity: float | None = None
) -> UsageRecord:
    """Take back a record, or `quantity` of it, in the same span and for the same version, operation and key.

    Raises RecordNotFound, UsageError for a record that still runs and for more than is left of it, and AlreadyExists
    where two do it at once.
    """
    found = _records(workspace)
    if record_id not in found:
        hint = did_you_mean(record_id, found) or "see: tenshot usage records"
        raise RecordNotFound(f"there is no usage record {record_id!r}", hint=hint)
    if any(record.id == record_id for record in workspace.store.open_meters()):
        raise UsageError(f"{record_id} is still counting", hint="correct it when it has ended")
    record = found[record_id]
    earlier = [other.quantity for other in found.values() if _corrects(other, record_id)]
    left = math.fsum([record.quantity, *earlier])
    if record.billed:  # what was taken off without naming a record is gone as well
        left = min(left, _used(found.values(), record.project, record.unit))
    amount = _amount(left if quantity is None else quantity, left, record.unit)
    return _append(
        workspace, replace(record, id=f"correction-{len(earlier) + 1}:{record_id}", quantity=-amount), reason, at
    )


def take_off(
    workspace: Workspace,
    project: str,
    unit: str,
    quantity: float,
    *,
    reason: str,
    at: float,
    version: int | None = None,
    operation: str = "correction",
    when: float | None = None,
) -> UsageRecord:
    """Take `quantity` off what a project used of a unit, at the moment `when` (now if None).

    Raises UsageError for a moment to come, and if that is more than it used and was billed in the calendar month (UTC)
    of that moment: tiers are by the month, so what another month used would not get cheaper by it.
    """
    moment = at if when is None else when
    if moment > at:
        raise UsageError("got a moment to come; expected one when something was used", hint="leave out --at")
    month = periods.containing(moment, "month", UTC)
    inside = [r for r in _records(workspace).values() if month.start <= r.start < month.end]
    amount = _amount(quantity, _used(inside, project, unit), unit, "say when it was used with --at")
    record = UsageRecord(
        f"correction-{secrets.token_hex(8)}", unit, project, version, operation, -amount, moment, moment
    )
    return _append(workspace, record, reason, at)


def reasons(workspace: Workspace) -> dict[str, str]:
    """Id of a correction → why it was made."""
    return {event.subject: event.message for event in workspace.store.events() if event.noun == NOUN}


def _records(workspace: Workspace) -> dict[str, UsageRecord]:
    journal.collect(workspace.store, workspace.home / "endpoints")
    return {record.id: record for record in workspace.store.usage()}


def _append(workspace: Workspace, record: UsageRecord, reason: str, at: float) -> UsageRecord:
    if not reason.strip():
        raise UsageError("a correction needs a reason", hint="say why with --reason")
    workspace.store.add_correction(record, reason=reason.strip(), at=at)
    return record


def _used(records: Iterable[UsageRecord], project: str, unit: str) -> float:
    return math.fsum(r.quantity for r in records if r.billed and (r.project, r.unit) == (project, unit))


def _amount(quantity: float, left: float, unit: str, hint: str = "see: tenshot usage records") -> float:
    if not 0 < quantity <= left:
        raise UsageError(
            f"got {quantity:g} {unit} to take back; expected more than 0 and at most what is left, {max(left, 0):g}",
            hint=hint,
        )
    return quantity


def _corrects(record: UsageRecord, record_id: str) -> bool:
    return record.id.startswith("correction-") and record.id.partition(":")[2] == record_id
