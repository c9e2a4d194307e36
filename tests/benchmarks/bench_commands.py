"""How long small commands take, from the shell's point of view.

make bench-commands
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sysconfig
import tempfile
import time
from pathlib import Path

import page

RUNS = 15
COMMANDS = ("--help", "project list", "usage", "endpoints", "train --help", "start --help")


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        rows = [(f"`tenshot {command}`", *measured(command, home)) for command in COMMANDS]
    page.append("Small commands", "make bench-commands", ("command", "median", "worst"), rows)


def measured(command: str, home: str) -> tuple[str, str]:
    program = Path(sysconfig.get_path("scripts")) / "tenshot"
    environ = {**os.environ, "TENSHOT_HOME": home}
    seconds = []
    for _ in range(RUNS + 1):
        begun = time.perf_counter()
        subprocess.run([str(program), *command.split()], env=environ, capture_output=True, check=True)
        seconds.append(time.perf_counter() - begun)
    seconds.pop(0)  # makes the store, reads the files for the first time
    return f"{statistics.median(seconds):.2f} s", f"{max(seconds):.2f} s"


if __name__ == "__main__":
    main()
