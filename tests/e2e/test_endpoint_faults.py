"""Endpoints whose processes are killed, stopped, starved and put to sleep while somebody calls them."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from fixtures_serving import picture, trained

from tenshot.projects.errors import EndpointError
from tenshot.projects.processes import cores
from tenshot.projects.status import VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import control, healing
from tenshot.serving.endpoints.keeper import backoff_s

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cores() < 2, reason="two units need two cores"),
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="processes end with their parents on Linux only at once"),
]

REF = "colours@1"
SMALL, LARGE = picture(), picture(size=(2500, 2000))
"""Few bytes both; the large one takes long to decode."""
PNG = {"Content-Type": "image/png"}


def until(condition, what, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return found


@contextmanager
def endpoint_of(folder: Path, *, units=1, max_units=None, idle_stop_s=0.0, **serving):
    """A running endpoint of a tiny classifier; nothing of it may be left at the end."""
    home = folder / "home"
    home.mkdir()
    settings = {"beat_s": 0.5, "stop_grace_s": 5.0, "max_restarts": 50} | serving
    (home / "config.yaml").write_text(json.dumps({"serving": settings}), "utf-8")
    workspace = Workspace(home)
    started = control.start(workspace, trained(workspace), units=units, max_units=max_units, idle_stop_s=idle_stop_s)
    try:
        until(lambda: record(workspace).workers == units, "all units serve")
        yield workspace, started.url
        control.stop(workspace, REF)
        until(lambda: not processes_of(workspace), "nothing is left")  # one that stopped by itself may still be leaving
        assert not workspace.store.open_meters()
    finally:
        left = processes_of(workspace)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        workspace.store.close()
    assert not left


def processes_of(workspace):
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), process.cwd()]
            gone = process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if not gone and any(str(workspace.home) in word for word in words):
            found.append(process.pid)
    return found


def record(workspace):
    [endpoint] = workspace.store.endpoints()
    return endpoint


def status(workspace):
    return workspace.resolve(REF).status


def supervisor(workspace):
    [child] = psutil.Process(record(workspace).supervisor_pid).children()
    return child


def workers(workspace):
    return supervisor(workspace).children()


def served(url):
    try:
        return httpx.post(f"{url}/predict", content=SMALL, headers=PNG, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


class Callers:
    """Threads that call all the time, each over one connection; `seen` counts what came back."""

    def __init__(self, url, count, body=SMALL):
        self.seen: Counter[str] = Counter()
        self._until = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(url, body)) for _ in range(count)]

    def _call(self, url, body):
        with httpx.Client(base_url=url, timeout=60) as client:
            while not self._until.is_set():
                try:
                    self.seen[str(client.post("/predict", content=body, headers=PNG).status_code)] += 1
                except httpx.TransportError as error:
                    self.seen[type(error).__name__] += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._until.set()
        for thread in self._threads:
            thread.join(60)


# Faults -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two units that are hurt again and again."""
    with endpoint_of(tmp_path_factory.mktemp("faults"), units=2, hang_s=4.0) as made:
        yield made


def kill_a_worker(workspace):
    """The other one serves on: it is RUNNING all the time."""
    before = record(workspace).restarts
    random.choice(workers(workspace)).kill()
    until(lambda: record(workspace).restarts > before, "the death is seen")
    assert status(workspace) is VersionStatus.RUNNING


def stop_a_worker(workspace):
    """It lives and answers nothing."""
    hung = random.choice(workers(workspace))
    before = record(workspace).restarts
    hung.suspend()
    until(lambda: record(workspace).restarts > before, "the hang is seen")
    assert status(workspace) is VersionStatus.RUNNING
    assert not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE


def kill_all_workers(workspace):
    for worker in workers(workspace):
        worker.kill()


def kill_the_supervisor(workspace):
    """Its workers end with it, and its keeper starts the next one."""
    old = supervisor(workspace)
    family = old.children()
    old.kill()
    until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family), "workers end")


def kill_everything(workspace):
    """As the machine's end does it; the next command brings the endpoint back."""
    dead = record(workspace).supervisor_pid
    for pid in processes_of(workspace):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not processes_of(workspace), "all dead")
    assert healing.heal(workspace) == [REF]
    assert record(workspace).supervisor_pid != dead


FAULTS = [kill_a_worker, stop_a_worker, kill_the_supervisor, kill_everything, kill_all_workers, kill_a_worker]


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{i}-{fault.__name__}" for i, fault in enumerate(FAULTS)])
def test_back_after(pair, fault):
    workspace, url = pair
    started = time.time()
    until(lambda: len(workers(workspace)) == record(workspace).workers == 2, "whole before")
    with Callers(url, 2) as callers:
        until(lambda: callers.seen["200"] > 5, "somebody calls")
        time.sleep(random.random() * 0.5)  # a moment that nobody chose
        fault(workspace)
        until(lambda: served(url), "it answers again")
        until(lambda: status(workspace) is VersionStatus.RUNNING and record(workspace).workers == 2, "whole again")
        answered = callers.seen["200"]
        until(lambda: callers.seen["200"] > answered + 5, "callers are answered as before")
    assert {kind for kind in callers.seen if kind.isdigit()} == {"200"}
    assert record(workspace).url == url
    until(lambda: len(processes_of(workspace)) == 4, "keeper, supervisor and two workers: nothing is left behind")
    spans = [r for r in workspace.store.usage() if r.unit == "inference_unit_second" and r.end > started]
    assert sum(r.end - max(r.start, started) for r in spans) <= 2 * (time.time() - started) + 0.5, "two at most"
    until(lambda: len(workspace.store.open_meters()) == 2, "both are billed")


def test_a_port_that_is_taken_meanwhile_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(healing, "REVIVE_S", 0.2)
    with endpoint_of(tmp_path) as (workspace, url):
        port = record(workspace).port
        for pid in processes_of(workspace):
            os.kill(pid, signal.SIGKILL)
        until(lambda: not processes_of(workspace), "all dead")
        taken: list[socket.socket] = []

        def take() -> bool:  # the kernel takes a moment to give the port of the dead away
            with suppress(OSError):
                taken.append(socket.create_server(("127.0.0.1", port)))
            return bool(taken)

        until(take, "the port is free")
        with taken[0]:
            [view] = control.endpoints(workspace)
        assert (view.state, view.endpoint) == (VersionStatus.FAILED, None)
        assert f"cannot listen on 127.0.0.1:{port}" in view.message
        assert control.start(workspace, REF, port=port).url == url


def test_what_cannot_be_mended_fails_after_some_tries_with_the_reason(tmp_path):
    with endpoint_of(tmp_path, max_restarts=2) as (workspace, _):
        [network] = workspace.home.glob("bentoml/bentos/colours/*/src/bundle/model.bin")
        whole = network.read_bytes()
        network.write_bytes(b"broken")
        for worker in workers(workspace):
            worker.kill()
        until(lambda: status(workspace) is VersionStatus.FAILED, "given up")
        until(lambda: not processes_of(workspace), "nothing is left")
        [view] = control.endpoints(workspace)
        assert "after 2 restarts" in view.message
        assert "damaged" in view.message
        with pytest.raises(EndpointError, match="damaged"):
            control.start(workspace, REF)
        network.write_bytes(whole)
        assert control.start(workspace, REF).state is VersionStatus.RUNNING


def test_a_supervisor_that_keeps_dying_is_given_up(tmp_path):
    with endpoint_of(tmp_path, max_restarts=1) as (workspace, _):
        for _ in range(2):
            until(lambda: status(workspace) is VersionStatus.RUNNING and record(workspace).workers, "in service")
            supervisor(workspace).kill()
            until(lambda: status(workspace) is not VersionStatus.RUNNING, "its death is seen")
        until(lambda: status(workspace) is VersionStatus.FAILED, "given up")
        until(lambda: not processes_of(workspace), "nothing is left")
        assert "supervisor died 2 times" in workspace.resolve(REF).status_message


def test_a_full_disk_is_no_end(tmp_path):
    """What cannot be counted is not answered; with room again it goes on, and nothing had to be started."""
    with endpoint_of(tmp_path) as (workspace, url):
        [pid] = [worker.pid for worker in workers(workspace)]
        journal = workspace.endpoint_dir("colours", 1) / "usage.journal"
        assert served(url)
        counted = journal.rename(journal.with_suffix(".aside"))
        journal.symlink_to("/dev/full")
        answer = httpx.post(f"{url}/predict", content=SMALL, headers=PNG, timeout=30)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        journal.unlink()
        counted.rename(journal)
        assert served(url)
        assert [worker.pid for worker in workers(workspace)] == [pid]


# Coming and going ---------------------------------------------------------------------------------------------------


def test_out_and_in_under_load_without_a_failed_request(tmp_path):
    with endpoint_of(tmp_path, max_units=2, scale_out_s=0.3, scale_in_s=1.0) as (workspace, url):
        with Callers(url, 8, LARGE) as many:
            until(lambda: record(workspace).workers == 2, "out")
            pids = {worker.pid for worker in workers(workspace)}
            until(lambda: all(asked(pid) for pid in pids), "old connections reach the new worker, too")
        with Callers(url, 1) as one:
            until(lambda: len(workers(workspace)) == 1 == record(workspace).workers, "in")
            answered = one.seen["200"]
            until(lambda: one.seen["200"] > answered + 3, "still answered")
        assert set(many.seen) == set(one.seen) == {"200"}
        assert {worker.pid for worker in workers(workspace)} < pids
        until(lambda: len(workspace.store.open_meters()) == 1, "one is billed")


def asked(pid):
    """Whether a worker has a connection of somebody."""
    return any(link.status == psutil.CONN_ESTABLISHED for link in psutil.Process(pid).net_connections("inet"))


def test_one_that_grew_is_replaced_without_a_failed_request(tmp_path):
    with endpoint_of(tmp_path, max_memory_mb=1) as (workspace, url), Callers(url, 2) as callers:
        [old] = workers(workspace)
        until(lambda: [worker.pid for worker in workers(workspace)] != [old.pid], "another one comes")
        until(lambda: len(workers(workspace)) == 1 and workers(workspace)[0].pid != old.pid, "and the old one goes")
        answered = callers.seen["200"]
        until(lambda: callers.seen["200"] > answered + 3, "still answered")
        assert status(workspace) is VersionStatus.RUNNING
        assert record(workspace).restarts == 0
        assert set(callers.seen) == {"200"}


def test_sleeps_and_wakes(tmp_path):
    with endpoint_of(tmp_path, idle_stop_s=1.5) as (workspace, url):
        control.set_wake_on_request(workspace, REF, True)
        until(lambda: not workers(workspace) and not record(workspace).workers, "asleep")
        [view] = control.endpoints(workspace)
        assert view.state is VersionStatus.RUNNING
        assert "asleep" in view.message
        until(lambda: not workspace.store.open_meters(), "nothing is billed")
        for path in ("/readyz", "/livez", "/metrics"):
            assert httpx.get(f"{url}{path}").status_code == 200
        assert not workers(workspace), "probes wake nobody"
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda _: served(url), range(8))), "the first one waits, and so do the others"
        assert status(workspace) is VersionStatus.RUNNING
        until(lambda: not workers(workspace), "asleep again")
        control.set_wake_on_request(workspace, REF, False)
        until(lambda: status(workspace) is VersionStatus.STOPPED, "it rises, and stops when idle")


def test_a_schedule(tmp_path):
    with endpoint_of(tmp_path) as (workspace, url):
        later = datetime.now(UTC) + timedelta(days=2)
        control.set_schedule(workspace, REF, f"{later:%a} 08:00-09:00")
        until(lambda: not workers(workspace) and not record(workspace).workers, "out of service")
        answer = httpx.post(f"{url}/predict", content=SMALL, headers=PNG)
        assert answer.status_code == 503
        assert 3600 < int(answer.headers["Retry-After"]) < 3 * 86400
        [view] = control.endpoints(workspace)
        assert (view.state, view.endpoint.workers) == (VersionStatus.RUNNING, 0)
        assert f"out of service until {later:%a} {later.day}" in view.message
        assert control.start(workspace, REF).started is False
        control.set_schedule(workspace, REF, "")
        until(lambda: served(url), "back in service")
        until(lambda: len(workspace.store.open_meters()) == 1, "billed again, a moment later")


def test_a_keeper_waits_longer_each_time():
    assert [backoff_s(deaths) for deaths in (1, 2, 3, 7, 20)] == [0.1, 0.2, 0.4, 5.0, 5.0]
