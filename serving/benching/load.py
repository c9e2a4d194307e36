"""`python -m tenshot.serving.benching.load`: closed-loop load from a process of its own; a job in, samples out.

A client is a thread with one kept connection: it sends, waits for the answer, and sends the next. On two cores the
client takes its share from the endpoint that it measures, so it does next to nothing: requests are made once, and a
request with a photo of 200 kB costs 0.10 ms of CPU time through these blocking sockets; 0.11 through asyncio's streams,
0.28 through http.client, 0.88 through httpx. What it took is among the results.
"""

from __future__ import annotations

import json
import math
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tenshot.projects.errors import EndpointError
from tenshot.serving.benching.http1 import Broken, Connection, Target, request

NO_ANSWER = 0
"""The status of a request that got none."""
LONGEST_PAUSE_S = 5.0
LEAVE_S = 5.0
"""How long requests in flight may take to be answered once the user interrupted."""
TICK_S = 0.5


@dataclass(frozen=True, slots=True)
class Job:
    """Ends after `seconds` or, if that is not 0, after `requests`; what is in flight then is awaited and counted."""

    url: str
    bodies: tuple[tuple[str, str], ...]
    """Files and their content types; every client sends all of them in turn, each from another one on."""
    clients: int
    seconds: float = math.inf
    requests: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    timeout_s: float = 150.0
    certificate: str | None = None
    """File of the one certificate that is trusted; None: the machine's own list."""

    @classmethod
    def parse(cls, text: str) -> Job:
        document = json.loads(text)
        return cls(**document | {"bodies": tuple((path, kind) for path, kind in document["bodies"])})


@dataclass(frozen=True, slots=True)
class Samples:
    """Seconds of every request, by HTTP status (NO_ANSWER: none)."""

    latencies_s: dict[int, list[float]]
    seconds: float
    """From the first request to the last answer."""
    client_cpu_s: float
    errors: dict[str, int] = field(default_factory=dict)
    """Why there was no answer → how often."""
    complete: bool = True
    """False: it was interrupted."""

    @property
    def count(self) -> int:
        return sum(map(len, self.latencies_s.values()))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, text: str) -> Samples:
        document = json.loads(text)
        return cls(**document | {"latencies_s": {int(k): v for k, v in document["latencies_s"].items()}})


# In the process of its own ----------------------------------------------------------------------------------------


class Load:
    def __init__(self, job: Job) -> None:
        self.job = job
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._begun = 0
        self._latencies: dict[int, array[float]] = {}
        self._errors: Counter[str] = Counter()
        target = Target.of(job.url)
        tls = _trusting(job.certificate) if target.tls else None
        requests = [request(target, Path(path).read_bytes(), kind, job.headers) for path, kind in job.bodies]
        self._clients = [
            threading.Thread(
                target=self._client, args=(Connection(target, job.timeout_s, tls), requests, i), daemon=True
            )
            for i in range(job.clients)
        ]

    def run(self) -> Samples:
        cpu, begun = time.process_time(), time.perf_counter()
        for client in self._clients:
            client.start()
        deadline = begun + self.job.seconds
        while any(client.is_alive() for client in self._clients) and not self.stopped.is_set():
            left = deadline - time.perf_counter()
            if left <= 0:
                break
            # Ended clients are seen at the next tick; signals interrupt the wait.
            self.stopped.wait(min(left, TICK_S / 5))
        interrupted = self.stopped.is_set()
        self.stopped.set()
        patience = time.perf_counter() + (LEAVE_S if interrupted else self.job.timeout_s)
        for client in self._clients:
            client.join(max(0.0, patience - time.perf_counter()))
        # To the last answer: the tick above is none of the endpoint's time.
        seconds = max(self._last, begun) - begun
        with self._lock:
            found = {status: [round(s, 7) for s in some] for status, some in self._latencies.items()}
            return Samples(found, seconds, time.process_time() - cpu, dict(self._errors), not interrupted)

    _last = 0.0

    def _client(self, connection: Connection, requests: list[bytes], number: int) -> None:
        at = number * len(requests) // self.job.clients
        while not self.stopped.is_set() and self._another():
            begun = time.perf_counter()
            status, pause_s = self._ask(connection, requests[at % len(requests)])
            self._note(status, begun, time.perf_counter())
            at += 1
            if pause_s:
                self.stopped.wait(pause_s)
        connection.close()

    def _another(self) -> bool:
        if not self.job.requests:
            return True
        with self._lock:
            self._begun += 1
            return self._begun <= self.job.requests

    def _ask(self, connection: Connection, whole: bytes) -> tuple[int, float]:
        """Status, and for how long the server asked to be left alone."""
        try:
            head = connection.ask(whole)
        except (OSError, Broken) as error:
            with self._lock:
                self._errors[str(error) or type(error).__name__] += 1
            return NO_ANSWER, TICK_S  # a server that is gone must not be asked a thousand times a second
        if head.status != 503:
            return head.status, 0.0
        return head.status, pause(head.headers.get("retry-after", ""))

    def _note(self, status: int, begun: float, ended: float) -> None:
        with self._lock:
            self._latencies.setdefault(status, array("d")).append(ended - begun)
            self._last = max(self._last, ended)


def pause(retry_after: str) -> float:
    """Seconds, at most LONGEST_PAUSE_S; one second for what is no number of seconds."""
    try:
        return min(LONGEST_PAUSE_S, max(0.0, float(retry_after)))
    except ValueError:
        return 1.0


def main() -> None:
    load = Load(Job.parse(sys.stdin.read()))
    signal.signal(signal.SIGTERM, lambda *_: load.stopped.set())
    sys.stdout.write(json.dumps(load.run().to_json()))
    sys.stdout.flush()
    os._exit(0)  # a client that still waits for its answer must not hold this up


# From outside -----------------------------------------------------------------------------------------------------


def measure(job: Job, *, tick: Callable[[], None] = lambda: None) -> Samples:
    """Run a job in a process of its own; `tick` is called twice a second meanwhile.

    Ctrl-C ends it early: what was measured so far comes back, not `complete`. Raises EndpointError if the process
    fails.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tenshot.serving.benching.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        text=True,
        start_new_session=True,  # Ctrl-C is ours to pass on
    )
    words: str | None = json.dumps(asdict(job))
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        process.terminate()

    try:
        with _on_interrupt(interrupt):
            while True:
                try:
                    said, complaint = process.communicate(words, timeout=TICK_S)
                    break
                except subprocess.TimeoutExpired:
                    words = None
                    tick()
    finally:
        with suppress(OSError):
            process.kill()
        process.wait()
    if process.returncode and interrupted.is_set():  # before it could say anything
        return Samples({}, 0.0, 0.0, complete=False)
    if process.returncode:
        last = complaint.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise EndpointError(f"the load generator failed: {last[0]}")
    return Samples.parse(said)


def _trusting(certificate: str | None) -> ssl.SSLContext:
    from tenshot.serving.endpoints import tls

    return tls.trusting(tls.leaf(Path(certificate))) if certificate else ssl.create_default_context()


@contextmanager
def _on_interrupt(act: Callable[..., None]) -> Iterator[None]:
    """Instead of KeyboardInterrupt, wherever it would hit; only the main thread can do that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, act)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    main()
