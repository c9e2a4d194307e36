"""One study and several real processes, one of which is killed.

PostgreSQL takes part where TENSHOT_TEST_POSTGRES names a database that the tests may wipe.
"""

from __future__ import annotations

import functools
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

from tenshot.automl.search import owners, sharing
from tenshot.automl.search import study as studies
from tenshot.automl.search.place import SCHEMA, Place, storage
from tenshot.projects.errors import StoreError

pytestmark = pytest.mark.slow

POSTGRES = os.environ.get("TENSHOT_TEST_POSTGRES")
PROCESS = Path(__file__).with_name("shared_trials.py")
DEAD = "{host}:4000000:1.00"


def until(condition: Callable[[], object], within_s: float = 200.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


@pytest.fixture(params=["journal", "sqlite", *(["postgresql"] if POSTGRES else [])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    url = {"journal": None, "sqlite": f"sqlite:///{tmp_path / 'studies.db'}", "postgresql": POSTGRES}[request.param]
    if request.param == "postgresql":
        import psycopg

        with psycopg.connect(str(POSTGRES), autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    return Place(tmp_path / "study" / "journal.log", url, "p/1-0", beat_s=0.1, stale_after_s=1.0)


@pytest.fixture
def start(place: Place, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []

    def begin(role: str, trials: int, gate: str = "open") -> subprocess.Popen[str]:
        argv = [role, str(place.journal), place.url or "", str(trials), str(tmp_path / gate)]
        running.append(
            subprocess.Popen([sys.executable, str(PROCESS), *argv], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
        )
        return running[-1]

    yield begin
    for process in running:
        process.kill()
        process.wait()


def printed(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=200)
    assert process.returncode == 0
    return json.loads(out)


opened = functools.cache(storage)


def trials(place: Place) -> list[Any]:
    kept = opened(place)
    try:
        return list(kept.get_all_trials(kept.get_study_id_from_name(place.name("toy")), deepcopy=False))
    except KeyError:
        return []


def running(place: Place) -> list[Any]:
    """Begun in earnest: their parameters are chosen."""
    return [t for t in trials(place) if t.state == TrialState.RUNNING and len(t.params) == 2]


def test_three_processes_finish_one_study(place: Place, start: Any, tmp_path: Path) -> None:
    leader, workers = start("lead", 20), [start("join", 20), start("join", 20)]
    until(lambda: len(running(place)) == 3)
    (tmp_path / "open").touch()
    done = [printed(process) for process in (leader, *workers)]
    found = trials(place)
    complete = [t for t in found if t.state == TrialState.COMPLETE]
    assert sum(one["taken"] for one in done) == len(complete) == 20
    assert all(one["taken"] for one in done)
    assert {t.user_attrs[studies.OWNER] for t in complete} == {one["owner"] for one in done}
    # No two processes drew the same, and what each found lies where all find it.
    assert len({repr(sorted(t.params.items())) for t in complete}) == 20
    study = studies.join(place, "toy", seed=0)
    assert all(studies.arrays_of(study, t.number)["logits"] == t.value for t in complete)
    assert sharing.current(place) is None


def test_a_killed_workers_trial_is_tried_again(place: Place, start: Any, tmp_path: Path) -> None:
    worker_gate = "never"
    leader = start("lead", 6)
    until(lambda: len(running(place)) == 1)
    worker = start("join", 6, worker_gate)
    until(lambda: len(running(place)) == 2)
    (lost,) = [t for t in running(place) if f":{worker.pid}:" in t.user_attrs[studies.OWNER]]
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    (tmp_path / "open").touch()
    printed(leader)
    found = trials(place)
    assert found[lost.number].state == TrialState.FAIL
    (again,) = [t for t in found if t.user_attrs.get(studies.RETRY_OF) == lost.number]
    assert (again.params, again.state) == (found[lost.number].params, TrialState.COMPLETE)
    assert [t.state for t in found].count(TrialState.COMPLETE) == 6
    assert all(t.state.is_finished() for t in found)


def test_a_killed_leader_goes_on_without_what_it_ran(place: Place, start: Any, tmp_path: Path) -> None:
    leader = start("lead", 4)
    until(lambda: len(running(place)) == 1)
    os.kill(leader.pid, signal.SIGKILL)
    leader.communicate()
    stage = sharing.current(place)
    assert stage is not None
    assert not sharing.is_open(place, stage), "its leader is dead"
    (tmp_path / "open").touch()
    printed(start("lead", 4))
    found = trials(place)
    assert found[0].state == TrialState.FAIL
    assert [t.state for t in found].count(TrialState.COMPLETE) == 4
    assert found[1].params == found[0].params, "the default comes first again"


def test_the_leader_does_not_wait_for_ever(place: Place, start: Any, tmp_path: Path) -> None:
    """A worker whose trial ends too late is told that the stage is over, and its trial does not count."""
    worker_gate = "never"
    leader = start("lead", 3)
    until(lambda: running(place))
    worker = start("join", 3, worker_gate)
    until(lambda: len(running(place)) == 2)
    (tmp_path / "open").touch()
    until(lambda: [t.state for t in trials(place)].count(TrialState.COMPLETE) == 2)
    assert leader.poll() is None, "it waits for the third"
    (tmp_path / worker_gate).touch()
    assert printed(worker)["taken"] == 1
    assert printed(leader)["taken"] == 2


class TestOwners:
    @pytest.mark.parametrize(
        ("owner", "expected"),
        [
            pytest.param("here", True, id="this process"),
            pytest.param(DEAD, False, id="no such process here"),
            pytest.param("elsewhere:1:1.00", False, id="another host that is silent"),
            pytest.param("nonsense", False, id="not a process"),
        ],
    )
    def test_lives(self, tmp_path: Path, owner: str, expected: bool) -> None:
        import socket

        named = {"here": owners.own()}.get(owner, owner.format(host=socket.gethostname()))
        assert owners.lives(named, Place(tmp_path / "journal.log")) is expected

    def test_another_host_that_beats(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        place = Place(tmp_path / "journal.log", beat_s=0.02, stale_after_s=0.3)
        owner = "elsewhere:1:1.00"
        monkeypatch.setattr(owners, "own", lambda: owner)
        with owners.beating(place):
            until(lambda: owners.lives(owner, place))
        assert not owners.lives(owner, place), "it said goodbye"

    def test_silence_ends_it(self, tmp_path: Path) -> None:
        place = Place(tmp_path / "journal.log", stale_after_s=0.3)
        file = owners._file(place, "elsewhere:1:1.00")
        file.parent.mkdir()
        file.touch()
        assert owners.lives("elsewhere:1:1.00", place)
        os.utime(file, (1.0, 1.0))
        assert not owners.lives("elsewhere:1:1.00", place)

    def test_seeds_differ(self) -> None:
        assert owners.seed_of("a:1:1.00") != owners.seed_of("a:2:1.00")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("nonsense", "which is not a database URL", id="no URL"),
        pytest.param("sqlite:////no/such/folder/x.db", "cannot be used", id="no folder"),
        pytest.param("postgresql+psycopg://127.0.0.1:1/x", "cannot be used", id="no server"),
        pytest.param("postgresql://u:secret@127.0.0.1:1/x", r"u:\*\*\*@127", id="password is hidden"),
    ],
)
def test_bad_storage(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        storage(Place(tmp_path / "journal.log", url))
    assert "secret" not in caught.value.message
    assert caught.value.hint


def test_names_of_studies(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    assert Place(journal, None, "p/1-0").name("toy") == "toy"
    assert Place(journal, "sqlite:///x.db", "p/1-0").name("toy") == "p/1-0/toy"
