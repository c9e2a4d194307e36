"""A process that runs jobs until it is killed: `python job_process.py ACTION`; says `working` once it is at work."""

# ruff: noqa: T201 (stdout is how it answers)
from __future__ import annotations

import signal
import sys

from tenshot.projects.jobs import JobContext, run_job
from tenshot.projects.metering import journal
from tenshot.projects.workspace import Workspace


def work_forever(context: JobContext) -> None:
    context.progress({"trial": 1})
    print("working", flush=True)
    signal.pause()


def count_images(workspace: Workspace, key: str = "") -> None:
    """Append to a journal as fast as possible."""
    folder = workspace.endpoint_dir("p", 1)
    folder.mkdir(parents=True, exist_ok=True)
    print("working", flush=True)
    done = 0
    while True:
        done += 1
        journal.append(journal.path_in(folder), "predict", 1, 1000.0 + done, key)
        print(done, flush=True)


def collect_forever(workspace: Workspace) -> None:
    _ = workspace.store
    print("working", flush=True)
    while True:
        journal.collect(workspace.store, workspace.home / "endpoints")


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run_job(Workspace.current(), None, ["train"], {"train": work_forever})
    elif sys.argv[1] == "collect":
        collect_forever(Workspace.current())
    else:
        count_images(Workspace.current(), *sys.argv[2:])
