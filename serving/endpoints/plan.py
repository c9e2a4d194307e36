"""How an endpoint is to run: what `start` was told, and what it is started with again after everything was killed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenshot.projects.records import Endpoint


@dataclass(frozen=True, slots=True)
class Plan:
    units: int
    max_units: int
    port: int = 0
    idle_stop_s: float | None = None
    """None: as the setting says; 0: never."""
    schedule: str = ""
    wake_on_request: bool = False
    restarts: int = 0
    """That it has behind it."""
    kept: bool = False
    """Whether the supervisor's parent process is its keeper."""
    deaths: int = 0
    """How often a supervisor of that keeper has died."""
    fd: int | None = None
    """Descriptor of a socket that listens at `port` already."""

    @classmethod
    def again(cls, endpoint: Endpoint) -> Plan:
        """The same once more."""
        return cls(
            units=endpoint.units,
            max_units=endpoint.max_units or endpoint.units,
            port=endpoint.port,
            idle_stop_s=endpoint.idle_stop_s,
            schedule=endpoint.schedule,
            wake_on_request=endpoint.wake_on_request,
            restarts=endpoint.restarts + 1,
        )

    def words(self) -> list[str]:
        """For the command line of a keeper or supervisor; the reverse of `parse`, but for the socket."""
        words = [f"--units={self.units}", f"--max-units={self.max_units}", f"--port={self.port}"]
        words += [f"--restarts={self.restarts}", f"--schedule={self.schedule}"]
        words += [] if self.idle_stop_s is None else [f"--idle-stop-s={self.idle_stop_s}"]
        return [*words, "--wake-on-request"] if self.wake_on_request else words


def parse(words: Sequence[str] | None = None) -> tuple[str, Plan]:
    """The reference of the version and the plan, from the command line of a supervisor."""
    parser = argparse.ArgumentParser(prog="supervisor")
    parser.add_argument("ref")
    parser.add_argument("--units", type=int, default=1)
    parser.add_argument("--max-units", type=int, default=0, help="0: as many as --units")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--idle-stop-s", type=float, default=None)
    parser.add_argument("--schedule", default="")
    parser.add_argument("--wake-on-request", action="store_true")
    parser.add_argument("--restarts", type=int, default=0)
    parser.add_argument("--fd", type=int, default=None, help="a socket that already listens, instead of --port")
    parser.add_argument("--kept", action="store_true", help="the parent process is a keeper")
    parser.add_argument("--deaths", type=int, default=0)
    said = vars(parser.parse_args(words))
    ref = said.pop("ref")
    said["max_units"] = max(said["units"], said["max_units"])
    return ref, Plan(**said)
