"""How often one access key may ask: a token bucket a key, shared by all units of the endpoint through small files."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

RECORD = struct.Struct("dd")


class Buckets:
    def __init__(
        self, folder: Path, rate_per_s: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` is one that all processes of the machine share."""
        self.folder = folder
        self.rate_per_s = rate_per_s
        self.burst = burst
        self._clock = clock
        folder.mkdir(parents=True, exist_ok=True)

    def wait_s(self, key_id: str) -> float:
        """Take one token: 0, or the seconds after which there would be one. A disk that fails limits nobody."""
        try:
            descriptor = os.open(self.folder / (key_id or "-"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return 0.0
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            was = os.pread(descriptor, RECORD.size, 0)
            tokens, at = RECORD.unpack(was) if len(was) == RECORD.size else (float(self.burst), 0.0)
            tokens, at, wait = take(tokens, at, self._clock(), self.rate_per_s, self.burst)
            os.pwrite(descriptor, RECORD.pack(tokens, at), 0)
            return wait
        except OSError:
            return 0.0
        finally:
            os.close(descriptor)


def take(tokens: float, at: float, now: float, rate_per_s: float, burst: int) -> tuple[float, float, float]:
    """(tokens left, now, 0) after one was taken, or (tokens, now, seconds to wait) where there was none.

    `tokens` were there at `at`. A time that lies ahead is of before the machine was started anew: the bucket is full.
    """
    tokens = float(burst) if at > now else min(float(burst), tokens + (now - at) * rate_per_s)
    if tokens >= 1.0:
        return tokens - 1.0, now, 0.0
    return tokens, now, (1.0 - tokens) / rate_per_s
