"""Usage journals: nothing counted twice, nothing forgotten, whoever dies."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tenshot.projects.metering import journal
from tenshot.projects.stores.sql import SqlStore
from tenshot.projects.workspace import Workspace

CHILD = Path(__file__).with_name("job_process.py")


@pytest.fixture
def path(workspace: Workspace) -> Path:
    folder = workspace.endpoint_dir("p", 3)
    folder.mkdir(parents=True)
    return journal.path_in(folder)


def collect(workspace: Workspace) -> int:
    return journal.collect(workspace.store, workspace.home / "endpoints")


def counted(workspace: Workspace) -> float:
    return sum(record.quantity for record in workspace.store.usage())


def test_counted_once(workspace: Workspace, path: Path) -> None:
    journal.append(path, "predict", 3, 1000.25)
    journal.append(path, "predict", 4, 1001.0)
    assert (collect(workspace), collect(workspace)) == (1, 0)
    first = workspace.store.usage()[0]
    assert (first.unit, first.project, first.version, first.operation) == ("image", "p", 3, "predict")
    assert (first.quantity, first.start, first.end) == (7.0, 1000.25, 1000.25)
    journal.append(path, "predict", 5, 1002.0)
    assert collect(workspace) == 1
    assert counted(workspace) == 12


def test_one_record_for_each_operation_and_minute(workspace: Workspace, path: Path) -> None:
    for at in (3599.0, 3599.9, 3600.0, 3659.0, 3660.0):
        journal.append(path, "predict", 2, at)
    journal.append(path, "warm-up", 1, 3600.5)
    assert collect(workspace) == 4
    found = {(record.operation, record.start): record.quantity for record in workspace.store.usage()}
    assert found == {
        ("predict", 3599.0): 4,
        ("predict", 3600.0): 4,
        ("predict", 3660.0): 2,
        ("warm-up", 3600.5): 1,
    }


def test_one_record_for_each_key(workspace: Workspace, path: Path) -> None:
    odd = "a key. with/all%20 kinds\nof é"
    for key in ("", "ak-1", odd, "ak-1", "k" * 200):
        journal.append(path, "predict", 2, 1000.0, key)
    collect(workspace)
    found = {record.key: record.quantity for record in workspace.store.usage()}
    assert found == {"": 2, "ak-1": 4, odd: 2, "k" * 128: 2}


def test_lines_without_a_key_are_read(workspace: Workspace, path: Path) -> None:
    path.write_text("\n0123456789abcdef 1000.000000 predict 3 .\n\n01234567ffffffff 1000.500000 predict 4 ak-1 .\n")
    collect(workspace)
    assert sorted((record.key, record.quantity) for record in workspace.store.usage()) == [("", 3.0), ("ak-1", 4.0)]


def test_line_with_a_key_torn_anywhere_is_never_counted_wrong(workspace: Workspace, path: Path) -> None:
    journal.append(path, "predict", 12, 1000.0, ". . .k.")
    whole = path.read_bytes()
    for cut in range(len(whole) - 1):
        assert journal._records(whole[:cut] + b"\n", path) == []
    assert [record.quantity for record in journal._records(whole, path)] == [12]


def test_folder_that_is_no_endpoints_is_left_alone(workspace: Workspace, path: Path) -> None:
    other = workspace.home / "endpoints" / "p@copy"
    other.mkdir(parents=True)
    journal.append(journal.path_in(other), "predict", 1, 1000.0)
    assert collect(workspace) == 0


def test_nothing_there(workspace: Workspace) -> None:
    assert collect(workspace) == 0


TORN = [pytest.param(cut, id=f"after {cut} bytes") for cut in (1, 2, 10, 30, 38, 40, 41, 42)]


@pytest.mark.parametrize("cut", TORN)
def test_torn_last_line_waits_and_is_never_counted_wrong(workspace: Workspace, path: Path, cut: int) -> None:
    journal.append(path, "predict", 1, 1000.0)
    whole = path.stat().st_size
    journal.append(path, "predict", 123, 1001.0)
    torn = path.read_bytes()[: whole + cut]
    assert len(torn) < path.stat().st_size
    path.write_bytes(torn)
    collect(workspace)
    assert counted(workspace) == 1
    journal.append(path, "predict", 5, 1002.0)
    collect(workspace)
    assert counted(workspace) == 6


def test_line_still_being_written_is_counted_when_it_is_whole(workspace: Workspace, path: Path) -> None:
    journal.append(path, "predict", 2, 1000.0)
    line = path.read_bytes()
    path.write_bytes(line[:-1])
    collect(workspace)
    assert counted(workspace) == 0
    path.write_bytes(line)
    collect(workspace)
    assert counted(workspace) == 2


def test_new_journal_of_the_same_name_is_read_from_its_start(workspace: Workspace, path: Path) -> None:
    for _ in range(5):
        journal.append(path, "predict", 1, 1000.0)
    collect(workspace)
    path.unlink()
    journal.append(path, "predict", 7, 1001.0)
    collect(workspace)
    assert counted(workspace) == 12


def test_long_journal_is_read_in_pieces(workspace: Workspace, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "MOST_BYTES", 200)
    for minute in range(50):
        journal.append(path, "predict", 1, 60.0 * minute)
    assert collect(workspace) == 50
    assert counted(workspace) == 50


def test_collectors_at_once(workspace: Workspace, path: Path) -> None:
    url = f"sqlite:///{workspace.home / 'tenshot.db'}"
    done = threading.Event()
    _ = workspace.store

    def keep_collecting(_worker: int) -> None:
        store = SqlStore(url)
        while not done.is_set():
            journal.collect(store, workspace.home / "endpoints")

    with ThreadPoolExecutor(3) as pool:
        collectors = [pool.submit(keep_collecting, worker) for worker in range(3)]
        for _ in range(300):
            journal.append(path, "predict", 1, 1000.0)
        done.set()
        for collector in collectors:
            collector.result()
    collect(workspace)
    assert counted(workspace) == 300


def test_killed_while_it_counts(workspace: Workspace) -> None:
    """Of work that was done and said to be done, all is counted; at most the piece in the making is more."""
    process = subprocess.Popen([sys.executable, str(CHILD), "count"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = 0
    for line in process.stdout:
        told = told if line == "working\n" else int(line)
        if told == 100:
            collect(workspace)
        if told == 500:
            process.kill()
            break
    rest, _ = process.communicate()
    whole = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    collect(workspace)
    collect(workspace)
    done = max([told, *whole])
    assert counted(workspace) in {done, done + 1}


def test_killed_writers_and_killed_collectors(workspace: Workspace) -> None:
    """Processes that write one journal are killed at any moment, torn lines are put between theirs, and of the
    processes that collect one is killed again and again: what each writer said that it had written is counted, once."""
    _ = workspace.store
    folder = workspace.endpoint_dir("p", 1)
    folder.mkdir(parents=True)
    writers = [child("write", str(number)) for number in range(3)]
    collectors = [child("collect"), child("collect")]
    told = [0, 0, 0]
    try:
        for turn in range(6):
            for number, writer in enumerate(writers):
                told[number] = last_number(writer, told[number])
            with journal.path_in(folder).open("ab") as stream:
                stream.write(b"\n0123456789abcdef 1000.0 predict 9")
            collectors[turn % 2].kill()
            collectors[turn % 2].communicate()
            collectors[turn % 2] = child("collect")
    finally:
        for process in [*writers, *collectors]:
            process.kill()
    for number, writer in enumerate(writers):
        rest, _ = writer.communicate()
        whole = [int(line) for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        told[number] = max([told[number], *whole])
    for collector in collectors:
        collector.communicate()
    collect(workspace)
    assert collect(workspace) == 0
    found = dict.fromkeys("012", 0.0)
    for record in workspace.store.usage():
        found[record.key] += record.quantity
    # At most the line that a writer had written and not yet told of is more.
    assert all(found[str(number)] in {done, done + 1} for number, done in enumerate(told)), (found, told)


def child(*words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, str(CHILD), *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


def last_number(writer: subprocess.Popen[str], before: int) -> int:
    """Reads a few of the numbers that it says."""
    assert writer.stdout is not None
    return max([before, *(int(writer.stdout.readline()) for _ in range(60))])
