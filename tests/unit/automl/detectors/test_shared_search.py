"""One detection search in several real processes, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tenshot.automl.search import study as studies
from tenshot.automl.search.detection_space import space
from tenshot.automl.search.place import Place, storage

pytestmark = pytest.mark.slow

PROCESS = Path(__file__).with_name("shared_search.py")


def until(condition: Callable[[], object], within_s: float = 400.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.05)


@pytest.fixture
def start(weights: Path, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    document = space().model_dump(mode="json")
    document["image_size"] |= {"lowest": 96, "highest": 96}
    document["epochs"] |= {"lowest": 2, "highest": 2}
    running: list[subprocess.Popen[str]] = []

    def begin(role: str) -> subprocess.Popen[str]:
        argv = [sys.executable, str(PROCESS), role, str(tmp_path / "journal.log"), str(weights), json.dumps(document)]
        running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=tmp_path))
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def printed(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return json.loads(out)


def test_a_worker_is_killed_and_another_helps(start: Any, tmp_path: Path) -> None:
    place = Place(tmp_path / "journal.log")
    kept = storage(place)

    def trials() -> list[Any]:
        try:
            return list(kept.get_all_trials(kept.get_study_id_from_name("detection"), deepcopy=False))
        except KeyError:
            return []

    def of(process: subprocess.Popen[str]) -> list[Any]:
        mine = [t for t in trials() if f":{process.pid}:" in t.user_attrs.get(studies.OWNER, "")]
        return [t for t in mine if t.state == TrialState.RUNNING and "recipe" in t.user_attrs]

    leader, killed = start("lead"), start("join")
    until(lambda: of(killed) or leader.poll() is not None)
    (lost,) = of(killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    helper = start("join")
    rows = printed(leader)
    printed(helper)
    found = trials()
    assert found[lost.number].state == TrialState.FAIL
    (again,) = [t for t in found if t.user_attrs.get(studies.RETRY_OF) == lost.number]
    assert again.params == lost.params
    assert again.state in (TrialState.COMPLETE, TrialState.PRUNED)
    assert not [t for t in found if t.state == TrialState.RUNNING]
    ended = [row for row in rows if row[2] in ("complete", "pruned")]
    assert len(ended) == 4
    assert sorted(row[1] for row in rows if row[2] == "complete").count("default") == 1
