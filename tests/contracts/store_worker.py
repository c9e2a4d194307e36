"""A process that works on a store: `python store_worker.py URL ACTION ARGUMENT…`; begins at a line on stdin."""

# ruff: noqa: T201 (stdout is how it answers)
from __future__ import annotations

import json
import sys

from tenshot.projects.records import UsageRecord
from tenshot.projects.status import JobStatus, VersionStatus
from tenshot.projects.stores.sql import SqlStore


def write(url: str, name: str, times: str) -> None:
    """Everything that two commands do at once: versions, status changes, details, usage, meters."""
    store = SqlStore(url)
    numbers = []
    for turn in range(int(times)):
        version = store.create_version("shared", dataset_version=1, at=float(turn))
        numbers.append(version.number)
        store.set_version_details("shared", 1, {f"{name}-{turn}": turn})
        store.advance_version("shared", version.number, VersionStatus.TRAINING_COMPLETED, at=float(turn))
        store.add_usage([UsageRecord(f"{name}-{turn}", "image", "shared", 1, "predict", 1.0, turn, turn)])
        store.add_usage([UsageRecord(f"both-{turn}", "image", "shared", 1, "predict", 1.0, turn, turn)])
        store.open_meter(
            "both", unit="second", project="shared", version=1, operation="serve", multiplier=1.0, at=float(turn)
        )
        store.beat_meter("both", at=float(turn))
    print(json.dumps(numbers))


def claim(url: str, name: str) -> None:
    """Claim jobs until there are none, finish each."""
    store = SqlStore(url)
    mine = []
    while job := store.claim(name, kinds=["train"], at=1.0):
        mine.append(job.id)
        store.finish(job.id, str(job.lock_token), JobStatus.SUCCEEDED, at=2.0)
    print(json.dumps(mine))


def open_store(url: str) -> None:
    print(json.dumps(len(SqlStore(url).projects())))


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    {"write": write, "claim": claim, "open": open_store}[sys.argv[2]](sys.argv[1], *sys.argv[3:])
