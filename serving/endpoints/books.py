"""What the store knows of one endpoint, as its supervisor writes it: where it runs, its state, its meters."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from tenshot.projects.clock import now
from tenshot.projects.errors import ConflictError, NotFoundError
from tenshot.projects.metering.meter import Meter
from tenshot.projects.status import VersionStatus

if TYPE_CHECKING:
    from tenshot.projects.records import Endpoint, ModelVersion
    from tenshot.projects.store import Store

log = logging.getLogger("tenshot.supervisor")
UNIT, OPERATION = "inference_unit_second", "endpoint"


class Books:
    """Every method may raise StoreError; what it was to write is then written by the next call."""

    def __init__(self, store: Store, version: ModelVersion) -> None:
        self.store = store
        self.version = version
        self.status = version.status
        self.restarts = 0
        self._workers: tuple[int, int] | None = None
        self._unclosed: list[Meter] = []
        self._mine: tuple[str | None, int, float] | None = None

    def register(self, endpoint: Endpoint) -> Endpoint:
        """Put it on record, or take over what a supervisor of the same keeper left there.

        Raises ResourceInUse if the version has an endpoint of somebody else.
        """
        left = self.store.endpoint(self.version.id)
        self._mine = _owner(endpoint)
        if left is None or not self.owns(left):
            self.store.put_endpoint(endpoint)
            self.restarts = endpoint.restarts
            self.advance(VersionStatus.STARTING)
            return endpoint
        close_meters(self.store, self.version)
        self.restarts = left.restarts + 1
        self.status = self.store.version(self.version.project, self.version.number).status
        changes = {"workers": 0, "ready_at": None, "meter_id": None, "restarts": self.restarts, "beat_at": now()}
        self.store.update_endpoint(self.version.id, **changes)
        if self.status not in (VersionStatus.STARTING, VersionStatus.STOPPING):
            self.advance(VersionStatus.STARTING, "restarted: its supervisor died")
        return replace(left, restarts=self.restarts)

    def owns(self, endpoint: Endpoint) -> bool:
        """Whether it is the one that this supervisor, or another of its keeper, put on record."""
        return _owner(endpoint) == self._mine

    def advance(self, to: VersionStatus, message: str = "") -> None:
        version = self.store.advance_version(self.version.project, self.version.number, to, message=message, at=now())
        self.status = version.status

    def serving(self, workers: int, *, up: bool, why: str, since: float | None) -> None:
        """Write how many workers serve, if that has changed; `up`: it is RUNNING, though maybe with none at the moment.

        `since` is when the first of them came into service, `why` what happened if it is not up any more.
        """
        if self._workers != (workers, self.restarts):
            changes = {"workers": workers, "restarts": self.restarts, "ready_at": since}
            self.store.update_endpoint(self.version.id, **changes)
            self._workers = workers, self.restarts
        if up and self.status is VersionStatus.STARTING:
            self.advance(VersionStatus.RUNNING)
        elif not up and self.status is VersionStatus.RUNNING:
            self.advance(VersionStatus.STARTING, f"restarted: {why}")

    def open_meter(self) -> Meter:
        """Of one worker, from now on."""
        meter_id = f"{self.version.ref}/{uuid.uuid4().hex}"
        project, number = self.version.project, self.version.number
        return Meter(self.store, meter_id, unit=UNIT, project=project, version=number, operation=OPERATION)

    def close_meter(self, meter: Meter) -> None:
        """Never raises: what cannot be written now is written later, up to its last beat."""
        try:
            meter.close()
        except Exception as error:
            log.warning("a meter cannot be closed yet: %s", error)
            self._unclosed.append(meter)

    def beat(self, meters: list[Meter], last_request_at: float | None) -> None:
        while self._unclosed:
            self.store.close_meter(self._unclosed[-1].id, at=None)
            self._unclosed.pop()
        for meter in meters:
            meter.beat()
        self.store.update_endpoint(self.version.id, beat_at=now(), last_request_at=last_request_at)

    def stopping(self, reason: str) -> None:
        left = self.store.endpoint(self.version.id)
        if left is not None and self.owns(left):
            self.advance(VersionStatus.STOPPING, reason)

    def leave(self, to: VersionStatus, reason: str) -> None:
        """Take the endpoint off the record. Somebody who thought us dead may have done so before, and another endpoint
        of the version may be on record since then: its state and its meters are not ours to end."""
        left = self.store.endpoint(self.version.id)
        if left is None or not self.owns(left):
            return
        close_meters(self.store, self.version)
        with suppress(ConflictError, NotFoundError):
            if to is VersionStatus.STOPPED and self.status is not VersionStatus.STOPPING:
                self.advance(VersionStatus.STOPPING, reason)
            self.advance(to, reason)
        self.store.remove_endpoint(self.version.id)


def close_meters(store: Store, version: ModelVersion) -> None:
    """Close what a dead supervisor of this version left open, each at its last beat."""
    for record in store.open_meters():
        if (record.project, record.version, record.operation) == (version.project, version.number, OPERATION):
            store.close_meter(record.id, at=None)


def _owner(endpoint: Endpoint) -> tuple[str | None, int, float]:
    return endpoint.supervisor_host, endpoint.supervisor_pid, endpoint.supervisor_started_at
