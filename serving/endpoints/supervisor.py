"""`python -m tenshot.serving.endpoints.supervisor REF`: the process that owns the endpoint of one version.

It holds the listening socket (so the port stays ours while workers come and go, and callers wait instead of being
refused), starts one worker an inference unit as its children, tells the store what state the endpoint is in, keeps a
meter for each worker, and takes everything away at the end. The workers die with it, however it ends; if it was not to
end, its own parent (`keeper`) starts it again.

What to do is decided by pure functions: `decisions` (restart, sleep, stop, fail), `scaling` (how many workers) and
`schedule` (when). `fleet` does it to the workers, `books` writes it down.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenshot.projects.clock import SteadyClock, now
from tenshot.projects.errors import ResourceInUse, StoreError, TenshotError
from tenshot.projects.processes import ProcessId, cores
from tenshot.projects.records import Endpoint
from tenshot.projects.status import VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import keeper
from tenshot.serving.endpoints.access import refuse_open
from tenshot.serving.endpoints.books import Books
from tenshot.serving.endpoints.decisions import Rules, Seen, Step, Verdict, decide, judge, next_start_at
from tenshot.serving.endpoints.fleet import Fleet, Worker
from tenshot.serving.endpoints.layout import EndpointFiles, tail
from tenshot.serving.endpoints.listening import listen
from tenshot.serving.endpoints.loads import Loads
from tenshot.serving.endpoints.plan import Plan, parse
from tenshot.serving.endpoints.rest import Rest
from tenshot.serving.endpoints.scaling import Memory, ScaleRules, scale
from tenshot.serving.endpoints.spending import Spending
from tenshot.serving.endpoints.wake import Wake
from tenshot.serving.endpoints.warden import Warden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tenshot.projects.records import ModelVersion

log = logging.getLogger("tenshot.supervisor")

TICK_S = 0.25
"""How late a stop request in the store is seen at most; signals and ended children wake the supervisor at once."""
BUSY_TICK_S = 0.05
"""While a worker starts or leaves."""
REASON_LINES = 3
COMPLAIN_EVERY_S = 10.0
LEAVE_TRIES_S = 10.0
"""How long to try to write down that the endpoint has ended, on a store that cannot be written."""
EXIT_TAKEN, EXIT_FAILED = keeper.EXIT_TAKEN, keeper.EXIT_FAILED


@dataclass
class State:
    """Times are of the supervisor's own clock, which does not jump."""

    memory: Memory
    """Of the scaling: how many workers are wanted, among other things."""
    ever_ready: bool = False
    serving_since: float | None = None
    """Wall clock; when the first of those that serve came into service."""
    used_at: float = 0.0
    last_request_at: float | None = None
    """Wall clock."""
    beat_at: float = 0.0
    complained_at: float = 0.0
    failures: list[float] = field(default_factory=list)
    last_failure: str = ""
    last_words: str = ""
    """How the last worker that failed ended, and what it wrote."""
    stop_asked: bool = False
    stop_reason: str = ""
    heavy: Worker | None = None
    """To be drained once another one has taken its place."""
    relieved_at: float | None = None


class Supervisor:
    def __init__(self, workspace: Workspace, version: ModelVersion, listener: socket.socket, plan: Plan) -> None:
        self.workspace = workspace
        self.version = version
        self.listener = listener
        self.plan = plan
        self.settings = workspace.settings.serving
        self.clock = SteadyClock()
        self.files = EndpointFiles.of(workspace, version)
        self.books = Books(workspace.store, version)
        self.threads = self.settings.unit_threads or max(1, cores() // plan.max_units)
        self.warden = Warden(workspace, self.files.folder)
        self.fleet = Fleet(
            workspace, self.files, listener, threads=self.threads, clock=self.clock, more=self.warden.told
        )
        self.rules = Rules(
            start_timeout_s=self.settings.start_timeout_s,
            idle_stop_s=self.settings.idle_stop_s if plan.idle_stop_s is None else plan.idle_stop_s,
            max_restarts=self.settings.max_restarts,
            restart_window_s=self.settings.restart_window_s,
            hang_s=self.settings.hang_s,
            max_memory_bytes=self.settings.max_memory_mb * 2.0**20,
        )
        self.scaling = ScaleRules(
            plan.units,
            plan.max_units,
            self.settings.scale_out_s,
            self.settings.scale_in_s,
            self.settings.target_p95_ms / 1000,
        )
        self.spending = Spending(workspace, version.project)
        # Taken over or started again: it was in service, so that what breaks one worker need not break the next.
        self.state = State(Memory(plan.units), ever_ready=plan.deaths > 0 or plan.restarts > 0)
        self.rest = Rest(listener, version.ref)
        self.loads = Loads()
        self.wake = Wake()
        self.host, self.port = listener.getsockname()[:2]
        if not self.warden.access.secured:
            refuse_open(self.host)  # serving.host may have changed since somebody said that no key is needed
        self.endpoint = self._as_record()

    def run(self) -> int:
        """Until the endpoint has ended; the exit status. Raises ResourceInUse if the version has an endpoint."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
        self.endpoint = self.books.register(self.endpoint)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.ask_stop("stopped on request"))
        if self.books.status is VersionStatus.STOPPING:  # of a supervisor that died on the way
            self.ask_stop("stopped on request")
        if self.plan.deaths > self.settings.max_restarts:
            return self._fail(f"its supervisor died {self.plan.deaths} times in a row")
        try:
            return self._loop()
        except StoreError:
            raise  # the end could not be written down: whoever looks next does that, as what it was
        except Exception as error:
            log.exception("the supervisor failed")
            return self._fail(f"the supervisor failed: {error}")

    def ask_stop(self, reason: str) -> None:
        """Stop at the next tick; the first reason counts."""
        self.state.stop_reason = self.state.stop_reason or reason
        self.state.stop_asked = True

    # The loop -----------------------------------------------------------------------------------------------------

    def _loop(self) -> int:
        while True:
            moving = any(worker.leaving or worker.ready_at is None for worker in self.fleet.workers)
            self.wake.wait(BUSY_TICK_S if moving else TICK_S, self.rest.readers)
            at = self.clock()
            beats = at - self.state.beat_at >= self.settings.beat_s
            with self._store_may_be_away():
                self._read_store()
            if reason := self.spending.used_up(at):
                self.ask_stop(reason)
            self._see_workers(at, beats)
            seen = self._look(at)
            decision = decide(seen, self.rules)
            if decision.step is Step.STOP:
                return self._stop(self.state.stop_reason or decision.reason)
            if decision.step is Step.FAIL:
                reason = " ".join(part for part in (f"{decision.reason}.", self.state.last_words) if part)
                if self._told(reason):
                    return self._fail(reason)
            if self.rest.step(self.endpoint, decision.reason if decision.step is Step.SLEEP else ""):
                self.state.used_at, self.state.memory = at, Memory(self.plan.units)
                self.state.failures = []
            self._scale(at)
            self._reconcile(at, next_start_at(seen, self.rules))
            with self._store_may_be_away():
                self._write_store(at, beats)

    @contextmanager
    def _store_may_be_away(self) -> Iterator[None]:
        """That it cannot be used for a while is no reason to stop serving: all in the block is tried again at the next
        tick."""
        try:
            yield
        except StoreError as error:
            if self.clock() - self.state.complained_at > COMPLAIN_EVERY_S:
                log.warning("the store cannot be used: %s", error)
                self.state.complained_at = self.clock()

    def _read_store(self) -> None:
        """See whether somebody asked for something."""
        endpoint = self.books.store.endpoint(self.version.id)
        if endpoint is None or not self.books.owns(endpoint) or endpoint.stop_requested:
            self.ask_stop("stopped on request")
        else:
            self.endpoint = endpoint

    def _write_store(self, at: float, beats: bool) -> None:
        """State, workers and, if it is time, a sign of life."""
        state, serving = self.state, self.fleet.serving
        for worker in serving:
            if worker.meter is None:
                worker.meter = self.books.open_meter()
                state.serving_since = state.serving_since or worker.meter.opened_at
        if not serving:
            state.serving_since = None
        up = bool(serving or self.rest.resting or self.rest.waking)
        self.books.serving(len(serving), up=up, why=state.last_failure, since=state.serving_since)
        if beats:
            state.beat_at = at
            self.warden.publish()
            with suppress(OSError):
                self.files.rotate_log()
            self._renew_meters()
            meters = [worker.meter for worker in self.fleet.workers if worker.meter and worker.alive]
            self.books.beat(meters, state.last_request_at)

    def _renew_meters(self) -> None:
        """Where the machine's clock was set, so that later seconds lie in the right hour."""
        for worker in self.fleet.workers:
            if worker.meter and worker.meter.jumped:
                self.books.close_meter(worker.meter)
                worker.meter = self.books.open_meter()

    def _look(self, at: float) -> Seen:
        state = self.state
        if last := self.fleet.last_request_at():
            state.used_at = max(state.used_at, last)
            state.last_request_at = now() - (at - last)
        return Seen(
            at=at,
            stop_asked=state.stop_asked,
            serving=len(self.fleet.serving),
            in_use=self.fleet.in_use(),
            used_at=state.used_at,
            ever_ready=state.ever_ready,
            failures=tuple(state.failures),
            last_failure=state.last_failure,
            wake_on_request=self.endpoint.wake_on_request,
            scheduled=bool(self.endpoint.schedule),
            resting=self.rest.resting,
        )

    # Workers ------------------------------------------------------------------------------------------------------

    def _see_workers(self, at: float, beats: bool) -> None:
        for worker in list(self.fleet.workers):
            verdict, reason = judge(self.fleet.look(worker, memory=beats), self.rules)
            if worker.leaving:
                self._see_off(worker)
            elif verdict is Verdict.READY:
                self._take_into_service(worker, at)
            elif verdict is Verdict.FAILED:
                self._give_up(worker, at, reason)
            elif verdict is Verdict.HEAVY:
                self._relieve(worker, at, reason)
        self.fleet.share()

    def _take_into_service(self, worker: Worker, at: float) -> None:
        if not self.fleet.serving:
            self.state.used_at = max(self.state.used_at, at)
            log.info("ready at %s after %.1f s", self.endpoint.url, at - worker.started_at)
        else:
            log.info("worker %d is ready after %.1f s", worker.process.pid, at - worker.started_at)
        worker.ready_at = at
        self.state.ever_ready, self.rest.waking = True, False
        self.rest.let_guests_go()

    def _give_up(self, worker: Worker, at: float, reason: str) -> None:
        self.fleet.kill(worker)
        lines = tail(self.files.log, REASON_LINES, offset=worker.log_offset, requests=False)
        words = " ".join(part for part in (worker.exit(), " / ".join(lines)) if part)
        log.warning("%s; it is started again. %s", reason, worker.exit())
        state = self.state
        state.failures = [*state.failures[-99:], at]
        state.last_failure, state.last_words = reason, words
        self.rest.waking = False
        self.books.restarts += 1
        self._forget(worker)

    def _see_off(self, worker: Worker) -> None:
        if self.fleet.overdue(worker):
            log.warning("worker %d does not end; it is killed", worker.process.pid)
            self.fleet.kill(worker)
        if not worker.alive:
            self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        if worker.meter:
            self.books.close_meter(worker.meter)
        self.fleet.forget(worker)
        if self.state.heavy is worker:
            self.state.heavy = None

    def _relieve(self, worker: Worker, at: float, reason: str) -> None:
        """It takes too much memory: another one first, then this one may go. One at a time, and not all the time."""
        since = self.state.relieved_at
        if self.state.heavy is None and (since is None or at - since >= self.rules.memory_every_s):
            log.warning("%s; another one takes its place", reason)
            self.state.heavy, self.state.relieved_at = worker, at

    def _scale(self, at: float) -> None:
        load = self.loads.read(at, [worker.board for worker in self.fleet.serving])
        if load is None or self.rest.resting or not load.serving:
            return
        before, self.state.memory = self.state.memory.wanted, scale(load, self.state.memory, self.scaling)
        if self.state.memory.wanted != before:
            log.info(
                "%d workers instead of %d: %.1f requests in flight, %.0f ms of waiting, p95 %.0f ms, %d refused",
                self.state.memory.wanted,
                before,
                self.state.memory.level,
                load.queue_s * 1000,
                load.p95_s * 1000,
                load.refused,
            )

    def _reconcile(self, at: float, start_at: float) -> None:
        """As many workers as are wanted: start what is missing, let go what is too much."""
        staying, heavy = self.fleet.staying, self.state.heavy
        wanted = 0 if self.rest.resting else self.state.memory.wanted + (heavy is not None)
        serving = len(self.fleet.serving)
        if heavy is not None and serving > self.state.memory.wanted:
            self.fleet.drain(heavy)
            self.state.heavy = None
        elif len(staying) < wanted and at >= start_at:
            # The first one alone: it builds what the others then find, and is there sooner if it has the machine.
            for _ in range(wanted - len(staying) if serving else not staying):
                self._spawn(at)
        elif len(staying) > wanted:
            youngest_first = sorted(staying, key=lambda worker: (worker.ready_at is None, worker.started_at))[::-1]
            for worker in youngest_first[: len(staying) - wanted]:
                self.fleet.drain(worker)

    def _spawn(self, at: float) -> None:
        bundle = self.workspace.bundle_dir(self.version.project, self.version.number)
        guests = [] if self.fleet.serving else self.rest.guests
        try:
            self.fleet.spawn(bundle, guests)
        except OSError as error:
            self.state.failures = [*self.state.failures[-99:], at]
            self.state.last_failure = f"a server process cannot be started: {error}"
            log.warning("%s", self.state.last_failure)

    # The end ------------------------------------------------------------------------------------------------------

    def _stop(self, reason: str) -> int:
        log.info("%s", reason)
        with suppress(TenshotError):  # whoever thought us dead may have ended the state already
            self.books.stopping(reason)
        self._close_door()  # the workers close their own: from here on callers are refused, not kept waiting
        self.fleet.end(self.settings.stop_grace_s, self._forget)
        self._leave(VersionStatus.STOPPED, reason)
        return keeper.EXIT_STOPPED

    def _told(self, reason: str) -> bool:
        """Whether it could be written down that the endpoint failed. Where it cannot, because the disk is full perhaps,
        that may be why; then it is tried on, at long intervals."""
        with self._store_may_be_away():
            self.books.advance(VersionStatus.FAILED, reason)
            return True
        return False

    def _fail(self, reason: str) -> int:
        log.error("%s", reason)
        self._close_door()
        self.fleet.end()
        self._leave(VersionStatus.FAILED, reason)
        return EXIT_FAILED

    def _close_door(self) -> None:
        if self.plan.kept:
            os.kill(os.getppid(), keeper.CLOSE)
        self.rest.let_guests_go()
        self.listener.close()

    def _leave(self, to: VersionStatus, reason: str) -> None:
        """A store that stays away is raised: then the endpoint stays on record, and whoever looks next takes it away
        together with its state."""
        for worker in list(self.fleet.workers):
            self._forget(worker)
        self.warden.leave()
        until = time.monotonic() + LEAVE_TRIES_S
        while True:
            try:
                return self.books.leave(to, reason)
            except StoreError as error:
                log.warning("the end cannot be written down: %s", error)
                if time.monotonic() > until:
                    raise
                time.sleep(1.0)

    def _as_record(self) -> Endpoint:
        at, owner = now(), ProcessId.of(os.getppid()) if self.plan.kept else ProcessId.own()
        return Endpoint(
            version_id=self.version.id,
            ref=self.version.ref,
            host=self.host,
            port=self.port,
            units=self.plan.units,
            max_units=self.plan.max_units,
            idle_stop_s=self.rules.idle_stop_s,
            supervisor_pid=owner.pid,
            supervisor_started_at=owner.start,
            supervisor_host=owner.host,
            started_at=at,
            ready_at=None,
            beat_at=at,
            last_request_at=None,
            restarts=self.plan.restarts,
            schedule=self.plan.schedule,
            wake_on_request=self.plan.wake_on_request,
            secured=self.warden.access.secured,
            tls=self.warden.access.cert is not None,
            stop_requested=False,
            meter_id=None,
        )


def main() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(_supervise(*parse()))
    except ResourceInUse as error:
        log.info("%s", error)
        sys.exit(EXIT_TAKEN)
    except StoreError as error:
        log.error("%s %s", error.message, error.hint)
        sys.exit(1)  # a death: it may be written again in a moment
    except TenshotError as error:
        log.error("%s %s", error.message, error.hint)
        sys.exit(EXIT_FAILED)


def _supervise(ref: str, plan: Plan) -> int:
    workspace = Workspace.current()
    version = workspace.resolve(ref)
    host = workspace.settings.serving.host
    listener = listen(host, plan.port) if plan.fd is None else socket.socket(fileno=plan.fd)
    return Supervisor(workspace, version, listener, plan).run()


if __name__ == "__main__":
    main()
