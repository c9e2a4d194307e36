"""`python -m tenshot.serving.endpoints.supervisor REF`: the process that owns the endpoint of one version.

It holds the listening socket (so the port stays ours while a crashed server is replaced, and callers wait instead of
being refused), starts the server as its child, tells the store what state it is in, keeps the meter, and takes
everything away at the end. The server dies with it, however it ends.
"""

from __future__ import annotations

import argparse
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenshot.projects.clock import SteadyClock, now
from tenshot.projects.errors import (
    ConflictError,
    EndpointError,
    NotFoundError,
    ResourceInUse,
    StoreError,
    TenshotError,
)
from tenshot.projects.metering.meter import Meter
from tenshot.projects.processes import ProcessId
from tenshot.projects.records import Endpoint
from tenshot.projects.status import VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import processes
from tenshot.serving.endpoints.bento import prepare_environment
from tenshot.serving.endpoints.config import EndpointConfig
from tenshot.serving.endpoints.decisions import Decision, Rules, Seen, Step, decide
from tenshot.serving.endpoints.layout import EndpointFiles, tail
from tenshot.serving.endpoints.probe import Probe

if TYPE_CHECKING:
    from tenshot.projects.records import ModelVersion

log = logging.getLogger("tenshot.supervisor")

TICK_S = 0.25
"""How late a stop request in the store is seen at most; signals and ended children wake the supervisor at once."""
KILL_WAIT_S = 10.0
REASON_LINES = 3
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
"""For glibc, unless the environment says otherwise: give the memory of large photos back. With EfficientNet-Lite2 and
16 callers the endpoint took about 355 MiB instead of 375; thresholds of 128 KiB save another 40, but then every run of
the network takes its buffers anew, and a lone caller waits half as long again."""
EXIT_FAILED = 1
EXIT_TAKEN = 3
"""Somebody else's supervisor already owns this version: not a failure."""


@dataclass
class Child:
    """One server process."""

    process: subprocess.Popen[bytes]
    started_at: float
    log_offset: int
    """Size of the log when it was started."""


@dataclass
class State:
    """Times are of the supervisor's own clock, which does not jump."""

    ready_at: float | None = None
    ever_ready: bool = False
    meter: Meter | None = None
    beat_at: float = 0.0
    touched_at: float | None = None
    """Time of the file that requests touch, when it was last looked at (wall clock)."""
    last_request_at: float | None = None
    restarts: list[float] = field(default_factory=list)
    stop_asked: bool = False


class Wake:
    """Lets signals and threads interrupt the supervisor's sleep."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)

    def set(self) -> None:
        with suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def wait(self, timeout_s: float) -> None:
        select.select([self._read], [], [], timeout_s)
        with suppress(BlockingIOError):
            while os.read(self._read, 1024):
                pass


class Supervisor:
    def __init__(
        self, workspace: Workspace, version: ModelVersion, listener: socket.socket, *, units: int, idle_stop_s: float
    ) -> None:
        self.workspace = workspace
        self.store = workspace.store
        self.version = version
        self.listener = listener
        self.units = units
        self.settings = workspace.settings.serving
        self.files = EndpointFiles.of(workspace, version)
        self.rules = Rules(
            start_timeout_s=self.settings.start_timeout_s,
            idle_stop_s=idle_stop_s,
            max_restarts=self.settings.max_restarts,
            restart_window_s=self.settings.restart_window_s,
        )
        self.host, self.port = listener.getsockname()[:2]
        self.clock = SteadyClock()
        self.state = State(touched_at=self.files.last_request_at())
        self.wake = Wake()
        self.probe = Probe(self.host, self.port, self.settings.beat_s, woken=self.wake.set, clock=self.clock)
        self.child: Child | None = None

    def run(self) -> int:
        """Until the endpoint has ended; the exit status. Raises ResourceInUse if the version has an endpoint."""
        self._register()
        signal.signal(signal.SIGTERM, lambda *_: self._ask_stop())
        signal.signal(signal.SIGINT, lambda *_: self._ask_stop())
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to be woken
        try:
            self._advance(VersionStatus.STARTING)
            self.child = self._spawn()
            self.probe.start()
            return self._loop()
        except BaseException as error:
            log.exception("the supervisor failed")
            self._fail(f"the supervisor failed: {error}")
            raise

    # The loop -----------------------------------------------------------------------------------------------------

    def _loop(self) -> int:
        while True:
            self.wake.wait(TICK_S)
            at = self.clock()
            self._read_store(at)
            self._see_requests(at)
            decision = decide(self._look(at), self.rules)
            if decision.step is Step.SERVE:
                self._serve(at)
            elif decision.step is Step.RESTART:
                self._restart(at, decision.reason)
            elif decision.step is Step.STOP:
                self._stop(decision.reason)
                return 0
            elif decision.step is Step.FAIL:
                self._fail(self._with_log(decision))
                return EXIT_FAILED

    def _look(self, at: float) -> Seen:
        child = self._child()
        return Seen(
            at=at,
            child_alive=child.process.poll() is None,
            child_started_at=child.started_at,
            ready_at=self.state.ready_at,
            ever_ready=self.state.ever_ready,
            answered_at=self.probe.answered_at,
            last_request_at=self.state.last_request_at,
            restarts=tuple(self.state.restarts),
            stop_asked=self.state.stop_asked,
        )

    def _read_store(self, at: float) -> None:
        """Beat if it is time, and see whether somebody asked to stop. A store that is away for a while is no reason to
        stop serving."""
        try:
            if at - self.state.beat_at >= self.settings.beat_s:
                self._beat(at)
            endpoint = self.store.endpoint(self.version.id)
        except StoreError as error:
            log.warning("the store cannot be reached: %s", error)
            return
        if endpoint is None or endpoint.supervisor_pid != os.getpid() or endpoint.stop_requested:
            self.state.stop_asked = True

    def _beat(self, at: float) -> None:
        self.files.rotate_log()
        if self.state.meter and self._child().process.poll() is None:
            self.state.meter.beat()
            if self.state.meter.jumped:
                self._close_meter()
                self._open_meter()
        self.store.update_endpoint(self.version.id, beat_at=now(), last_request_at=self.files.last_request_at())
        self.state.beat_at = at

    def _see_requests(self, at: float) -> None:
        touched_at = self.files.last_request_at()
        if touched_at != self.state.touched_at:
            self.state.touched_at, self.state.last_request_at = touched_at, at

    def _ask_stop(self) -> None:
        self.state.stop_asked = True

    # Steps --------------------------------------------------------------------------------------------------------

    def _register(self) -> None:
        at, own = now(), ProcessId.own()
        self.store.put_endpoint(
            Endpoint(
                version_id=self.version.id,
                ref=self.version.ref,
                host=self.host,
                port=self.port,
                units=self.units,
                idle_stop_s=self.rules.idle_stop_s,
                supervisor_pid=own.pid,
                supervisor_started_at=own.start,
                supervisor_host=own.host,
                started_at=at,
                ready_at=None,
                beat_at=at,
                last_request_at=None,
                restarts=0,
                stop_requested=False,
                meter_id=None,
            )
        )

    def _spawn(self) -> Child:
        self.files.rotate_log()
        shutil.rmtree(self.files.metrics, ignore_errors=True)
        self.files.metrics.mkdir(parents=True)
        started_at = self.clock()
        self.probe.forget(started_at)
        with self.files.log.open("ab") as stream:
            process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                cwd=self.files.folder,
                pass_fds=[self.listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                # Only the main thread starts children: the kernel's signal is tied to the thread that forked.
                preexec_fn=processes.dies_with_parent(),
            )
            return Child(process, started_at, stream.tell())

    def _command(self) -> list[str]:
        bundle = self.workspace.bundle_dir(self.version.project, self.version.number)
        words = [sys.executable, "-m", "tenshot.serving.endpoints.worker", "--fd", str(self.listener.fileno())]
        grace = str(self.settings.stop_grace_s)
        return [*words, "--home", str(self.workspace.home), "--bundle", str(bundle), "--grace-s", grace]

    def _environment(self) -> dict[str, str]:
        config = EndpointConfig.of(
            self.workspace.settings, units=self.units, journal=self.files.journal, touched=self.files.touched
        )
        # BentoML puts the working directory on sys.path; PYTHONSAFEPATH keeps `python -m` from doing so too.
        own = {"PYTHONSAFEPATH": "1", "PROMETHEUS_MULTIPROC_DIR": str(self.files.metrics), **config.to_environment()}
        environ = {**MALLOC, **os.environ, **own}
        prepare_environment(self.workspace.home, environ)
        return environ

    def _serve(self, at: float) -> None:
        meter = self._open_meter()
        self.store.update_endpoint(self.version.id, ready_at=meter.opened_at)
        self.state.ready_at, self.state.ever_ready = at, True
        self._advance(VersionStatus.RUNNING)
        log.info("ready at http://%s:%s after %.1f s", self.host, self.port, at - self._child().started_at)

    def _restart(self, at: float, reason: str) -> None:
        log.warning("%s; it is started again. %s", reason, self._exit())
        self._end_child()
        self._close_meter()
        self.state.ready_at = None
        self.state.restarts.append(at)
        self._advance(VersionStatus.STARTING, f"restarted: {reason}")
        self.store.update_endpoint(self.version.id, restarts=len(self.state.restarts), ready_at=None)
        self.child = self._spawn()

    def _stop(self, reason: str) -> None:
        log.info("%s", reason)
        with suppress(TenshotError):  # whoever thought us dead may have ended the state already
            self._advance(VersionStatus.STOPPING, reason)
        self.listener.close()  # the server closes its own: from here on callers are refused, not kept waiting
        self._end_child(self.settings.stop_grace_s)
        self._leave(VersionStatus.STOPPED, reason)

    def _fail(self, reason: str) -> None:
        log.error("%s", reason)
        self._end_child()
        self._leave(VersionStatus.FAILED, reason)

    def _leave(self, to: VersionStatus, reason: str) -> None:
        self.probe.stop()
        self._close_meter()
        # Somebody who thought us dead may have ended the state. A store that fails is raised: then the endpoint stays
        # on record, and whoever looks next takes it away together with its state.
        with suppress(ConflictError, NotFoundError):
            self._advance(to, reason)
        self.store.remove_endpoint(self.version.id)

    # The child ----------------------------------------------------------------------------------------------------

    def _child(self) -> Child:
        if self.child is None:
            raise EndpointError("the server was not started yet")
        return self.child

    def _end_child(self, grace_s: float = 0.0) -> None:
        """Ask it to end, and kill it if it has not after `grace_s` (and a second to tidy up)."""
        if self.child is None or self.child.process.poll() is not None:
            return
        process = self.child.process
        if grace_s:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(grace_s + 1.0)
        if process.poll() is None:
            process.kill()
            process.wait(KILL_WAIT_S)

    def _exit(self) -> str:
        code = self._child().process.poll()
        if code is None:
            return ""
        return f"It was ended by signal {-code}." if code < 0 else f"Its exit status was {code}."

    def _with_log(self, decision: Decision) -> str:
        lines = tail(self.files.log, REASON_LINES, offset=self._child().log_offset)
        return " ".join(part for part in (f"{decision.reason}.", self._exit(), " / ".join(lines)) if part)

    # The store ----------------------------------------------------------------------------------------------------

    def _advance(self, to: VersionStatus, message: str = "") -> None:
        self.store.advance_version(self.version.project, self.version.number, to, message=message, at=now())

    def _open_meter(self) -> Meter:
        meter_id = f"{self.version.ref}/{uuid.uuid4().hex}"
        # Named before it is opened: whoever finds us dead closes the meter that the endpoint names.
        self.store.update_endpoint(self.version.id, meter_id=meter_id)
        self.state.meter = Meter(
            self.store,
            meter_id,
            unit="inference_unit_second",
            project=self.version.project,
            version=self.version.number,
            operation="endpoint",
            multiplier=float(self.units),
        )
        return self.state.meter

    def _close_meter(self) -> None:
        if self.state.meter:
            self.state.meter.close()
            self.store.update_endpoint(self.version.id, meter_id=None)
        self.state.meter = None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises EndpointError if the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except (OSError, OverflowError) as error:
        listener.close()
        raise EndpointError(
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
            hint="choose another port with --port, or leave it out to take a free one",
        ) from None
    return listener


def main() -> None:
    words = argparse.ArgumentParser(prog="supervisor")
    words.add_argument("ref")
    words.add_argument("--units", type=int, default=1)
    words.add_argument("--port", type=int, default=0)
    words.add_argument("--idle-stop-s", type=float, default=None)
    words.add_argument("--fd", type=int, default=None, help="a socket that already listens, instead of --port")
    said = words.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        sys.exit(_supervise(said))
    except ResourceInUse as error:
        log.info("%s", error)
        sys.exit(EXIT_TAKEN)
    except TenshotError as error:
        log.error("%s %s", error.message, error.hint)
        sys.exit(EXIT_FAILED)


def _supervise(said: argparse.Namespace) -> int:
    workspace = Workspace.current()
    serving = workspace.settings.serving
    version = workspace.resolve(said.ref)
    listener = listen(serving.host, said.port) if said.fd is None else socket.socket(fileno=said.fd)
    idle_stop_s = serving.idle_stop_s if said.idle_stop_s is None else said.idle_stop_s
    return Supervisor(workspace, version, listener, units=said.units, idle_stop_s=idle_stop_s).run()


if __name__ == "__main__":
    main()
