"""`python -m tenshot.serving.endpoints.keeper --fd N …`: the parent of a supervisor, which starts it again if it dies.

It does nothing else and imports next to nothing, so that there is little in it that could end it. It holds the
listening socket: while one supervisor dies and the next one starts, callers wait instead of being refused. All other
words of its command line are the supervisor's. Whatever it starts ends with it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import FrameType

from tenshot.serving.endpoints.processes import dies_with_parent

EXIT_STOPPED, EXIT_TAKEN, EXIT_FAILED = 0, 3, 4
"""How a supervisor ends that has done its work: it stopped, somebody else's owns the version, or it said FAILED. Any
other end is a death."""
CLOSE = signal.SIGUSR1
"""From the supervisor: close the listening socket, callers are to be refused from here on."""
FIRST_BACKOFF_S = 0.1
LONGEST_BACKOFF_S = 5.0
MOST_DEATHS = 20
"""In a row. A supervisor that gets as far as that says FAILED long before; this is for one that cannot even begin."""
CALM_S = 300.0
"""A supervisor that lived for so long has made good for earlier deaths."""


class Keeper:
    def __init__(self, descriptor: int, words: list[str]) -> None:
        self.descriptor: int | None = descriptor
        self.words = words
        self.deaths = 0
        self.stopping = False
        self.child: subprocess.Popen[bytes] | None = None

    def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(CLOSE, lambda *_: self._close())
        while True:
            started = time.monotonic()
            self.child = self._spawn()
            if self.stopping:  # asked while it was being made
                self.child.terminate()
            status = self.child.wait()
            if status in (EXIT_STOPPED, EXIT_TAKEN, EXIT_FAILED):
                return status
            if self.stopping or self.descriptor is None or self.deaths >= MOST_DEATHS:
                return EXIT_FAILED  # the next command that looks takes away what is left
            self.deaths = self.deaths + 1 if time.monotonic() - started < CALM_S else 1
            time.sleep(backoff_s(self.deaths))

    def _spawn(self) -> subprocess.Popen[bytes]:
        listener = [] if self.descriptor is None else [self.descriptor]
        command = [sys.executable, "-m", "tenshot.serving.endpoints.supervisor", *self.words, "--kept"]
        command += [f"--fd={descriptor}" for descriptor in listener] + [f"--deaths={self.deaths}"]
        return subprocess.Popen(command, pass_fds=listener, preexec_fn=dies_with_parent())

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.stopping = True
        if self.child is not None:
            with suppress(ProcessLookupError):
                self.child.send_signal(number)

    def _close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
        self.descriptor = None


def backoff_s(deaths: int) -> float:
    return float(min(FIRST_BACKOFF_S * 2 ** (deaths - 1), LONGEST_BACKOFF_S))


def main() -> None:
    words = argparse.ArgumentParser(prog="keeper", add_help=False)
    words.add_argument("--fd", type=int, required=True)
    said, rest = words.parse_known_args()
    sys.exit(Keeper(said.fd, rest).run())


if __name__ == "__main__":
    main()
