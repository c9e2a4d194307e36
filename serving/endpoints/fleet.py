"""The workers of an endpoint: one process an inference unit, all of which accept from one listening socket."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects.clock import Clock
from tenshot.serving.endpoints import processes
from tenshot.serving.endpoints.bento import prepare_environment
from tenshot.serving.endpoints.board import Board, Field
from tenshot.serving.endpoints.config import EndpointConfig
from tenshot.serving.endpoints.decisions import WorkerSeen

if TYPE_CHECKING:
    from tenshot.projects.metering.meter import Meter
    from tenshot.projects.workspace import Workspace
    from tenshot.serving.endpoints.layout import EndpointFiles

KILL_WAIT_S = 10.0
END_POLL_S = 0.02
IDLE_CONNECTION_S = 5.0
"""How long a worker keeps a connection that says nothing; one that leaves waits as long for the last of them."""
MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_MMAP_THRESHOLD_": str(4 << 20)}
"""For glibc, unless the environment says otherwise: give the memory of large photos back. With EfficientNet-Lite2 and
16 callers the endpoint took about 355 MiB instead of 375; thresholds of 128 KiB save another 40, but then every run of
the network takes its buffers anew, and a lone caller waits half as long again."""


@dataclass(eq=False)
class Worker:
    """One server process. Times are of the supervisor's clock."""

    slot: int
    """Which of the workers that run it is, from 0; its part of the metrics goes by this name."""
    bundle: Path
    process: subprocess.Popen[bytes]
    board: Board
    started_at: float
    log_offset: int
    """Size of the log when it was started."""
    ready_at: float | None = None
    meter: Meter | None = None
    leaving: bool = False
    """It was told to end, or to answer what it has and end then."""
    failure: str = ""
    """Why it is being replaced."""

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def serving(self) -> bool:
        return self.ready_at is not None and not self.leaving and self.alive

    def exit(self) -> str:
        """How it ended, for people."""
        code = self.process.poll()
        if code is None:
            return ""
        return f"It was ended by signal {-code}." if code < 0 else f"Its exit status was {code}."


class Fleet:
    """Starts, looks at and ends workers. Decides nothing."""

    def __init__(
        self,
        workspace: Workspace,
        files: EndpointFiles,
        listener: socket.socket,
        *,
        threads: int,
        clock: Clock,
        more: Callable[[], dict[str, object]] = dict,
    ) -> None:
        """`threads` is each worker's share of the cores; `more` are further fields of its `EndpointConfig`."""
        self.workspace = workspace
        self.files = files
        self.listener = listener
        self.threads = threads
        self.workers: list[Worker] = []
        """All whose process has not been seen to end."""
        self._more = more
        self._clock = clock
        self._grace_s = workspace.settings.serving.stop_grace_s
        shutil.rmtree(files.metrics, ignore_errors=True)

    @property
    def serving(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.serving]

    @property
    def staying(self) -> list[Worker]:
        """Those that serve or are about to."""
        return [worker for worker in self.workers if not worker.leaving]

    def spawn(self, bundle: Path, guests: Sequence[socket.socket] = ()) -> Worker:
        """Start a worker. `guests` are accepted connections that it answers first; the caller keeps its own copies.

        Raises OSError.
        """
        self.files.rotate_log()
        self.files.metrics.mkdir(parents=True, exist_ok=True)
        board = Board.make()
        slot = min(set(range(len(self.workers) + 1)) - {worker.slot for worker in self.workers})
        descriptors = [self.listener.fileno(), board.descriptor, *(guest.fileno() for guest in guests)]
        started_at = self._clock()
        try:
            with self.files.log.open("ab") as stream:
                process = subprocess.Popen(
                    self._command(bundle, slot, descriptors[2:]),
                    env=self._environment(board),
                    cwd=self.files.folder,
                    pass_fds=descriptors,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    # Only the main thread starts children: the kernel's signal is tied to the thread that forked.
                    preexec_fn=processes.dies_with_parent(),
                )
                worker = Worker(slot, bundle, process, board, started_at, stream.tell())
        except BaseException:
            board.close()
            raise
        self.workers.append(worker)
        return worker

    def look(self, worker: Worker, *, memory: bool = False) -> WorkerSeen:
        """What can be seen of it from outside; its memory only if asked, since that is dearer."""
        board, offset = worker.board, self._clock() - time.monotonic()

        def at(field: Field) -> float:
            return board[field] and board[field] + offset

        return WorkerSeen(
            at=self._clock(),
            alive=worker.alive,
            started_at=worker.started_at,
            ready_at=worker.ready_at,
            answers=bool(board[Field.READY]),
            beat_at=at(Field.BEAT_AT),
            inferring_since=at(Field.INFERRING_SINCE),
            inferred_at=at(Field.INFERRED_AT),
            memory_bytes=processes.memory_bytes(worker.process.pid) if memory and worker.alive else 0.0,
        )

    def last_request_at(self) -> float:
        """When the last request came to a worker that still runs; 0: none did."""
        last = max((worker.board[Field.REQUEST_AT] for worker in self.workers), default=0.0)
        return last and last + self._clock() - time.monotonic()

    def in_use(self) -> bool:
        return any(worker.board[Field.IN_FLIGHT] > 0 for worker in self.workers if worker.alive)

    def share(self) -> None:
        """Tell every worker how many connections are its part, so that those who have more let some go."""
        serving = self.serving
        total = sum(worker.board[Field.CONNECTIONS] for worker in serving)
        for worker in serving:
            worker.board[Field.SHARE] = 0 if len(serving) == 1 else total // len(serving) + 1

    def drain(self, worker: Worker) -> None:
        """Let it answer what it has and end by itself."""
        worker.leaving = True
        worker.board[Field.DRAIN_UNTIL] = time.monotonic() + self._grace_s + IDLE_CONNECTION_S

    def kill(self, worker: Worker) -> None:
        worker.leaving = True
        if worker.alive:
            worker.process.kill()
            worker.process.wait(KILL_WAIT_S)

    def overdue(self, worker: Worker) -> bool:
        """Whether it was told to leave and has not, though its time is over (and what the server itself may take)."""
        until = worker.board[Field.DRAIN_UNTIL]
        return bool(until) and time.monotonic() > until + self._grace_s + 1.0

    def forget(self, worker: Worker) -> None:
        """Its process has ended."""
        self.workers.remove(worker)
        worker.board.close()
        # What it said of the moment must not stay in the sum over all workers; its counters do.
        for path in self.files.metrics.glob(f"gauge_live*_{worker.slot}.db"):
            path.unlink(missing_ok=True)

    def end(self, grace_s: float = 0.0, ended: Callable[[Worker], None] = lambda _: None) -> None:
        """End all of them: ask, and kill what has not ended after `grace_s` (and a second to tidy up).

        `ended` is called for each that ends by itself, as it does: it is not billed for those that take longer.
        """
        running = [worker for worker in self.workers if worker.alive]
        for worker in running:
            worker.leaving = True
            if grace_s:
                worker.process.terminate()
        deadline = time.monotonic() + grace_s + 1.0
        while grace_s and running and time.monotonic() < deadline:
            for worker in [worker for worker in running if not worker.alive]:
                running.remove(worker)
                ended(worker)
            time.sleep(END_POLL_S)
        for worker in running:
            self.kill(worker)

    def _command(self, bundle: Path, slot: int, guests: Sequence[int]) -> list[str]:
        words = [sys.executable, "-m", "tenshot.serving.endpoints.worker", "--fd", str(self.listener.fileno())]
        words += ["--home", str(self.workspace.home), "--bundle", str(bundle), "--slot", str(slot)]
        return [*words, "--grace-s", str(self._grace_s), *(f"--guest={descriptor}" for descriptor in guests)]

    def _environment(self, board: Board) -> dict[str, str]:
        config = EndpointConfig.of(
            self.workspace.settings,
            threads=self.threads,
            journal=self.files.journal,
            board=board.descriptor,
            **self._more(),
        )
        # BentoML puts the working directory on sys.path; PYTHONSAFEPATH keeps `python -m` from doing so too.
        own = {"PYTHONSAFEPATH": "1", "PROMETHEUS_MULTIPROC_DIR": str(self.files.metrics), **config.to_environment()}
        environ = {**MALLOC, **os.environ, **own}
        prepare_environment(self.workspace.home, environ)
        return environ
