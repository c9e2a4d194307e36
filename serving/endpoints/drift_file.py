"""The hours of an endpoint's drift on disk: `drift.jsonl` in the endpoint's folder.

A line is what one worker counted since its last line, `{"hour": 500000, "signals": {"strangeness": {"-40": 3}}}`: hours
since the epoch (UTC), and by signal how many images lie in each bin (drift.py). Lines are only ever added up, so
workers, restarts and a torn line at a crash neither lose nor double what was written. Nothing in it tells what an image
showed. A long file is rewritten with one line an hour and without hours older than `KEPT_HOURS`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tenshot.automl.usual import STEPS, Usual
from tenshot.serving.endpoints.drift import FEWEST, HOUR_S, Drift, Tallies, add, compare, images_in, merge

log = logging.getLogger(__name__)

FILE = "drift.jsonl"
EVERY_S = 20.0
"""Between two lines of a worker: what a `kill -9` loses."""
KEPT_HOURS = 14 * 24
LIMIT_BYTES = 4 << 20
"""Rewritten above this; every bin of `KEPT_HOURS` hours filled makes 2 MB."""
LONGEST_LINE = 64 << 10


def path_in(endpoint_dir: Path) -> Path:
    return endpoint_dir / FILE


def read(path: Path) -> dict[int, Tallies]:
    """Hour → what was counted in it, oldest first. Empty if nothing was written yet; broken lines are left out."""
    hours: dict[int, Tallies] = {}
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        if parsed := _parse(line):
            merge(hours.setdefault(parsed[0], {}), parsed[1])
    return dict(sorted(hours.items()))


def by_hour(usual: Usual | None, path: Path) -> list[tuple[int, Drift]]:
    """(start of the hour in seconds since the epoch, its drift), oldest first."""
    return [(hour * HOUR_S, compare(usual, tallies)) for hour, tallies in read(path).items()]


def newest(usual: Usual | None, hours: Mapping[int, Tallies], at: float) -> Drift:
    """Of the hour that `at` is in, or of the one before while this one has few images."""
    now = int(at // HOUR_S)
    enough = [hour for hour in (now, now - 1) if images_in(hours.get(hour, {})) >= FEWEST]
    return compare(usual, hours.get(enough[0] if enough else now, {}))


def append(path: Path, hour: int, tallies: Tallies) -> None:
    """Raises OSError; then nothing of it will be counted."""
    # The line begins with its own line break too: what a full disk or a killed process left unfinished stays apart.
    line = b"\n" + _line(hour, tallies)
    with _locked(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            before = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, before)
                raise OSError(f"{path}: the disk is full")
        finally:
            os.close(descriptor)
        if before > LIMIT_BYTES:
            with suppress(OSError):  # the line is written; that the file stays long is no loss
                _rewrite(path)


def _rewrite(path: Path) -> None:
    hours = read(path)
    oldest = max(hours, default=0) - KEPT_HOURS
    partial = path.with_suffix(".partial")
    partial.write_bytes(b"".join(_line(hour, tallies) for hour, tallies in hours.items() if hour > oldest))
    partial.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Beside the file, which is replaced when it is rewritten."""
    with path.with_suffix(".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _line(hour: int, tallies: Mapping[str, Mapping[int, int]]) -> bytes:
    signals = {name: {str(place): count for place, count in sorted(bins.items())} for name, bins in tallies.items()}
    return json.dumps({"hour": hour, "signals": signals}, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> tuple[int, Tallies] | None:
    if not line or len(line) > LONGEST_LINE:
        return None
    try:
        document: dict[str, Any] = json.loads(line)
        signals = document["signals"].items()
        return int(document["hour"]), {
            name: Counter({int(place): int(count) for place, count in bins.items()})
            for name, bins in signals
            if name in STEPS
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


class Recorder:
    """Counts in one worker. `seen` is cheap and never fails; a thread writes to the disk and hears of the others."""

    def __init__(
        self,
        path: Path | None,
        usual: Usual | None,
        told: Callable[[Drift], None] = lambda drift: None,
        clock: Callable[[], float] = time.time,
        every_s: float = EVERY_S,
    ) -> None:
        """`path` None: a Bento run by hand has no folder; what this process saw is compared alone. `told` gets the
        newest drift of all workers after each line."""
        self._path = path
        self._usual = usual
        self._told = told
        self._clock = clock
        self._every_s = every_s
        self._hours: dict[int, Tallies] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def seen(self, signals: Mapping[str, float]) -> None:
        """One answered image."""
        if not signals or self._usual is None:
            return
        with self._lock:
            add(self._hours.setdefault(int(self._clock() // HOUR_S), {}), signals)

    def start(self) -> None:
        if self._usual is not None:
            self._thread = threading.Thread(target=self._run, name="drift", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Write what is left."""
        self._ended.set()
        if self._thread:
            self._thread.join()
        self.flush()

    def flush(self) -> None:
        """Write what was counted since the last time. What cannot be written is kept for the next time."""
        with self._lock:
            if self._path is None:
                alone = {hour: {name: Counter(bins) for name, bins in t.items()} for hour, t in self._hours.items()}
                for hour in [h for h in self._hours if h < max(self._hours) - 1]:
                    del self._hours[hour]
            else:
                waiting, self._hours = self._hours, {}
        if self._path is None:
            self._told(newest(self._usual, alone, self._clock()))
            return
        for hour, tallies in waiting.items():
            try:
                append(self._path, hour, tallies)
            except OSError as error:
                log.warning("what is seen cannot be written: %s", error)
                with self._lock:
                    merge(self._hours.setdefault(hour, {}), tallies)
        with suppress(OSError):
            self._told(newest(self._usual, read(self._path), self._clock()))

    def _run(self) -> None:
        self.flush()  # what other workers saw is known at once
        while not self._ended.wait(self._every_s):
            self.flush()
