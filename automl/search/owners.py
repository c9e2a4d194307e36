"""Whose trial it is, and whether that process lives.

Optuna's own heartbeat only works inside `study.optimize` on a database. Here a trial carries its process as an
attribute; on this host the process table decides, and for another host a file that the process touches while it works.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from tenshot.automl.search.place import Place
from tenshot.projects.processes import ProcessId


def own() -> str:
    """This process, as trials name it; another one after a fork."""
    return _own(os.getpid())


@cache
def _own(_pid: int) -> str:
    return str(ProcessId.own())


def seed_of(owner: str) -> int:
    """A number of a process's own: two processes that share a study must not draw the same trials."""
    import zlib

    return zlib.crc32(owner.encode()) % 1_000_003


def lives(owner: str, place: Place) -> bool:
    """Whether the process still works, as far as can be told from here."""
    alive = lives_here(owner)
    if alive is not None:
        return alive
    try:
        silent_s = time.time() - _file(place, owner).stat().st_mtime
    except OSError:
        return False
    return silent_s < place.stale_after_s


def lives_here(owner: str) -> bool | None:
    """What this host's process table says; None for a process of another host."""
    process = ProcessId.parse(owner)
    return process.alive() if process else False


@contextmanager
def beating(place: Place) -> Iterator[None]:
    """Be seen by other hosts until the block ends."""
    file, stop = _file(place, own()), threading.Event()
    file.parent.mkdir(parents=True, exist_ok=True)

    def beat() -> None:
        while True:
            with suppress(OSError):
                file.touch()
            if stop.wait(place.beat_s):
                return

    thread = threading.Thread(target=beat, name="sign of life of a worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        file.unlink(missing_ok=True)


def _file(place: Place, owner: str) -> Path:
    return place.folder / "workers" / re.sub(r"[^\w.-]", "_", owner)
