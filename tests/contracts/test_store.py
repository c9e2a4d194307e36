"""What projects/store.py promises, on every implementation.

PostgreSQL takes part where TENSHOT_TEST_POSTGRES names an empty database that the tests may wipe.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tenshot.projects.errors import (
    AccessKeyNotFound,
    AlreadyExists,
    DatasetNotFound,
    IllegalTransition,
    JobNotFound,
    ProjectNotFound,
    ResourceInUse,
    TenshotError,
    VersionNotFound,
)
from tenshot.projects.records import AccessKey, Budget, DatasetVersion, Endpoint, Job, ModelVersion, UsageRecord
from tenshot.projects.status import JobStatus, ProjectStatus, Task, VersionStatus
from tenshot.projects.store import Store
from tenshot.projects.stores.sql import SqlStore

POSTGRES = os.environ.get("TENSHOT_TEST_POSTGRES")
WORKER = Path(__file__).with_name("store_worker.py")
V, J = VersionStatus, JobStatus


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES else ["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'tenshot.db'}"
    import psycopg

    assert POSTGRES
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return POSTGRES


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = SqlStore(url)
    yield opened
    opened.close()


def processes(url: str, *commands: list[str]) -> list[Any]:
    """Run workers that begin together; what each printed."""
    running = [
        subprocess.Popen(
            [sys.executable, str(WORKER), url, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = [process.communicate(timeout=50)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    assert [process.returncode for process in running] == [0] * len(running)
    return [json.loads(text) for text in printed]


def dataset(store: Store, project: str = "p", parent: int | None = None) -> DatasetVersion:
    stats = {"train": {"images": 3, "labels": {"a": 3}}, "test": None, "refused": 0}
    return store.add_dataset_version(
        project, snapshot_sha256="ab" * 32, parent=parent, source="photos", stats=stats, at=5.0
    )


def trained(store: Store, project: str = "p") -> ModelVersion:
    made = store.create_version(project, dataset_version=1, at=1.0)
    return store.advance_version(project, made.number, V.TRAINING_COMPLETED, at=9.0)


def endpoint(version: ModelVersion, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "version_id": version.id, "ref": version.ref, "host": "127.0.0.1", "port": 3000, "units": 1, "idle_stop_s": 0.0,
        "supervisor_pid": 10, "supervisor_started_at": 1.0, "started_at": 2.0, "ready_at": None, "beat_at": 2.0,
        "last_request_at": None, "restarts": 0, "stop_requested": False, "meter_id": None,
    }  # fmt: skip
    return Endpoint(**values | changes)


def images(identity: str, at: float = 10.0, quantity: float = 1.0, **changes: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "id": identity, "unit": "image", "project": "p", "version": 1, "operation": "predict", "quantity": quantity,
        "start": at, "end": at,
    }  # fmt: skip
    return UsageRecord(**values | changes)


class TestProjects:
    def test_created_and_found(self, store: Store) -> None:
        made = store.create_project("p", Task.DETECTION, at=1.5)
        assert (made.name, made.task, made.status, made.created_at) == ("p", Task.DETECTION, ProjectStatus.CREATED, 1.5)
        assert store.project("p") == made

    def test_name_is_taken_once(self, store: Store) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)
        with pytest.raises(AlreadyExists, match="'p'"):
            store.create_project("p", Task.MULTILABEL, at=2.0)
        assert store.project("p").task is Task.DETECTION
        assert len(store.events()) == 1

    def test_listed_by_name(self, store: Store) -> None:
        for name in ("b", "B", "a", "_"):
            store.create_project(name, Task.DETECTION, at=1.0)
        assert [project.name for project in store.projects()] == ["B", "_", "a", "b"]

    def test_unknown_name_hints_at_near_ones(self, store: Store) -> None:
        store.create_project("solar", Task.DETECTION, at=1.0)
        with pytest.raises(ProjectNotFound) as caught:
            store.project("sola")
        assert "solar" in caught.value.hint

    def test_deleted_with_all_it_has_but_usage(self, store: Store) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)
        dataset(store)
        version = trained(store)
        store.set_alias("p", "champion", 1)
        store.enqueue("import", "p", at=1.0)
        store.add_usage([images("u")])
        store.delete_project("p", at=3.0)
        with pytest.raises(ProjectNotFound):
            store.project("p")
        assert store.jobs() == []
        assert [record.id for record in store.usage()] == ["u"]
        assert [(event.subject, event.new) for event in store.events()[-2:]] == [
            (version.ref, "DELETING"),
            ("p", "DELETING"),
        ]

    def test_name_is_free_again_after_deletion(self, store: Store) -> None:
        old = store.create_project("p", Task.DETECTION, at=1.0)
        trained(store)
        store.delete_project("p", at=2.0)
        new = store.create_project("p", Task.MULTILABEL, at=3.0)
        assert new.id != old.id
        assert store.versions("p") == []

    @pytest.mark.parametrize(
        "occupy",
        [
            pytest.param(lambda s: s.create_version("p", dataset_version=1, at=1.0), id="training"),
            pytest.param(lambda s: s.put_endpoint(endpoint(trained(s))), id="endpoint"),
            pytest.param(
                lambda s: s.advance_version("p", trained(s).number, V.STARTING, at=1.0), id="starting without endpoint"
            ),
            pytest.param(
                lambda s: (s.enqueue("import", "p", at=1.0), s.claim("me", kinds=["import"], at=1.0)),
                id="running import",
            ),
        ],
    )
    def test_not_deleted_while_in_use(self, store: Store, occupy: Callable[[Store], object]) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)
        occupy(store)
        before = store.events()
        with pytest.raises(ResourceInUse):
            store.delete_project("p", at=2.0)
        assert store.project("p").status is ProjectStatus.CREATED
        assert store.events() == before


class TestDatasets:
    @pytest.fixture(autouse=True)
    def project(self, store: Store) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)

    def test_numbered_and_kept(self, store: Store) -> None:
        first, second = dataset(store), dataset(store, parent=1)
        assert (first.number, first.parent, second.number, second.parent) == (1, None, 2, 1)
        assert first.stats["train"]["labels"] == {"a": 3}
        assert store.dataset_version("p") == second
        assert store.dataset_version("p", 1) == first
        assert store.dataset_versions("p") == [first, second]

    @pytest.mark.parametrize("parent", [None, 2, 0])
    def test_parent_must_be_the_newest(self, store: Store, parent: int | None) -> None:
        dataset(store)
        with pytest.raises(IllegalTransition):
            dataset(store, parent=parent)
        assert len(store.dataset_versions("p")) == 1

    def test_empty_project_has_none(self, store: Store) -> None:
        assert store.dataset_versions("p") == []
        with pytest.raises(DatasetNotFound, match="no images"):
            store.dataset_version("p")

    def test_unknown_number(self, store: Store) -> None:
        dataset(store)
        with pytest.raises(DatasetNotFound, match="no dataset version 7"):
            store.dataset_version("p", 7)

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda s: dataset(s, "q"), id="add"),
            pytest.param(lambda s: s.dataset_version("q"), id="get"),
            pytest.param(lambda s: s.dataset_versions("q"), id="list"),
            pytest.param(lambda s: s.create_version("q", dataset_version=1, at=1.0), id="create version"),
            pytest.param(lambda s: s.versions("q"), id="versions"),
            pytest.param(lambda s: s.alias("q", "champion"), id="alias"),
            pytest.param(lambda s: s.enqueue("train", "q", at=1.0), id="enqueue"),
            pytest.param(lambda s: s.delete_project("q", at=1.0), id="delete"),
        ],
    )
    def test_unknown_project(self, store: Store, call: Callable[[Store], object]) -> None:
        with pytest.raises(ProjectNotFound):
            call(store)


class TestVersions:
    @pytest.fixture(autouse=True)
    def project(self, store: Store) -> None:
        store.create_project("p", Task.CLASSIFICATION, at=1.0)

    def test_numbered_newest_first(self, store: Store) -> None:
        made = [store.create_version("p", dataset_version=4, at=1.0) for _ in range(3)]
        assert [version.ref for version in made] == ["p@1", "p@2", "p@3"]
        assert [version.number for version in store.versions("p")] == [3, 2, 1]
        assert (made[0].status, made[0].task, made[0].dataset_version) == (
            V.TRAINING_IN_PROGRESS,
            Task.CLASSIFICATION,
            4,
        )

    def test_numbers_are_of_the_project(self, store: Store) -> None:
        store.create_project("q", Task.CLASSIFICATION, at=1.0)
        assert [store.create_version(name, dataset_version=1, at=1.0).number for name in ("p", "q", "p")] == [1, 1, 2]

    def test_advance_writes_the_event(self, store: Store) -> None:
        store.create_version("p", dataset_version=1, at=1.0)
        done = store.advance_version("p", 1, V.TRAINING_COMPLETED, message="good", at=7.0)
        assert (done.status, done.trained_at, done.status_message) == (V.TRAINING_COMPLETED, 7.0, "good")
        last = store.events()[-1]
        assert (last.noun, last.subject, last.old, last.new, last.at, last.message) == (
            "version", "p@1", "TRAINING_IN_PROGRESS", "TRAINING_COMPLETED", 7.0, "good",
        )  # fmt: skip

    def test_illegal_change_changes_nothing(self, store: Store) -> None:
        store.create_version("p", dataset_version=1, at=1.0)
        before = store.events()
        with pytest.raises(IllegalTransition, match="p@1 is TRAINING_IN_PROGRESS"):
            store.advance_version("p", 1, V.RUNNING, at=2.0)
        assert store.version("p", 1).status is V.TRAINING_IN_PROGRESS
        assert store.events() == before

    def test_details_merge_by_key(self, store: Store) -> None:
        trained(store)
        store.set_version_details("p", 1, {"metrics": {"auc": 0.5, "n": 1}, "labels": ["a", "é"]})
        found = store.set_version_details("p", 1, {"metrics": {"auc": 0.9}, "seconds": 3})
        assert found.details == {"metrics": {"auc": 0.9}, "labels": ["a", "é"], "seconds": 3}
        assert store.version("p", 1).details == found.details

    def test_undefined_numbers_become_null(self, store: Store) -> None:
        trained(store)
        store.set_version_details("p", 1, {"a": [float("nan"), 1.0], "b": {"c": float("inf")}})
        assert store.version("p", 1).details == {"a": [None, 1.0], "b": {"c": None}}

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda s: s.version("p", 9), id="get"),
            pytest.param(lambda s: s.advance_version("p", 9, V.STARTING, at=1.0), id="advance"),
            pytest.param(lambda s: s.set_version_details("p", 9, {}), id="details"),
            pytest.param(lambda s: s.set_alias("p", "champion", 9), id="set alias"),
            pytest.param(lambda s: s.alias("p", "champion"), id="alias"),
        ],
    )
    def test_unknown_version(self, store: Store, call: Callable[[Store], object]) -> None:
        with pytest.raises(VersionNotFound) as caught:
            call(store)
        assert caught.value.hint

    def test_alias_moves(self, store: Store) -> None:
        trained(store), trained(store)
        store.set_alias("p", "champion", 1)
        store.set_alias("p", "blue", 2)
        store.set_alias("p", "champion", 2)
        assert store.alias("p", "champion") == 2
        assert [version.aliases for version in store.versions("p")] == [("blue", "champion"), ()]
        with pytest.raises(VersionNotFound) as caught:
            store.alias("p", "champ")
        assert "champion" in caught.value.hint


class TestJobs:
    @pytest.fixture(autouse=True)
    def project(self, store: Store) -> None:
        store.create_project("p", Task.CLASSIFICATION, at=1.0)

    def claimed(self, store: Store) -> Job:
        store.enqueue("train", "p", at=1.0)
        job = store.claim("host:1:2", kinds=["train"], at=2.0)
        assert job is not None
        return job

    def test_queued_with_payload(self, store: Store) -> None:
        job = store.enqueue("train", "p", version=3, payload={"seed": 0}, at=1.0)
        assert (job.status, job.project, job.version, job.payload) == (J.QUEUED, "p", 3, {"seed": 0})
        assert store.job(job.id) == job

    def test_training_has_its_version(self, store: Store) -> None:
        jobs = [store.enqueue_training("p", dataset_version=4, payload={"seed": n}, at=1.0) for n in range(2)]
        assert [(j.kind, j.version, j.payload) for j in jobs] == [("train", 1, {"seed": 0}), ("train", 2, {"seed": 1})]
        assert [v.dataset_version for v in store.versions("p")] == [4, 4]
        with pytest.raises(ProjectNotFound):
            store.enqueue_training("q", dataset_version=1, payload={}, at=1.0)

    def test_claimed_in_order_once(self, store: Store) -> None:
        first, second = store.enqueue("train", "p", at=1.0), store.enqueue("train", "p", at=1.0)
        one, two = store.claim("a", kinds=["train"], at=2.0), store.claim("b", kinds=["train"], at=3.0)
        assert one is not None
        assert two is not None
        assert (one.id, two.id) == (first.id, second.id)
        assert (one.status, one.owner, one.heartbeat_at, one.attempts) == (J.RUNNING, "a", 2.0, 1)
        assert one.lock_token
        assert one.lock_token != two.lock_token
        assert store.claim("c", kinds=["train"], at=4.0) is None

    @pytest.mark.parametrize(
        ("kinds", "offset"),
        [
            pytest.param(["import"], 0, id="other kind"),
            pytest.param(["train"], 1, id="other id"),
            pytest.param([], 0, id="none"),
        ],
    )
    def test_claim_takes_only_what_was_asked(self, store: Store, kinds: list[str], offset: int) -> None:
        job = store.enqueue("train", "p", at=1.0)
        assert store.claim("a", kinds=kinds, job_id=job.id + offset, at=2.0) is None
        assert store.job(job.id).status is J.QUEUED

    def test_heartbeat(self, store: Store) -> None:
        job = self.claimed(store)
        assert store.heartbeat(job.id, str(job.lock_token), progress={"trial": 3}, at=4.0)
        assert store.heartbeat(job.id, str(job.lock_token), at=5.0)
        found = store.job(job.id)
        assert (found.heartbeat_at, found.progress) == (5.0, {"trial": 3})

    def test_heartbeat_with_another_token(self, store: Store) -> None:
        job = self.claimed(store)
        assert not store.heartbeat(job.id, "stolen", at=9.0)
        assert store.job(job.id).heartbeat_at == 2.0

    @pytest.mark.parametrize("to", [J.SUCCEEDED, J.FAILED, J.CANCELLED])
    def test_finished_once(self, store: Store, to: JobStatus) -> None:
        job = self.claimed(store)
        done = store.finish(job.id, str(job.lock_token), to, message="m", at=3.0)
        assert (done.status, done.message) == (to, "m")
        assert not store.heartbeat(job.id, str(job.lock_token), at=4.0)
        with pytest.raises(IllegalTransition):
            store.finish(job.id, str(job.lock_token), J.SUCCEEDED, at=4.0)

    def test_finish_needs_the_token(self, store: Store) -> None:
        job = self.claimed(store)
        with pytest.raises(IllegalTransition):
            store.finish(job.id, "stolen", J.SUCCEEDED, at=3.0)
        assert store.job(job.id).status is J.RUNNING

    @pytest.mark.parametrize("to", [J.QUEUED, J.RUNNING])
    def test_finish_needs_an_end(self, store: Store, to: JobStatus) -> None:
        job = self.claimed(store)
        with pytest.raises(IllegalTransition):
            store.finish(job.id, str(job.lock_token), to, at=3.0)

    @pytest.mark.parametrize(
        ("to", "expected"),
        [
            pytest.param(J.FAILED, V.TRAINING_FAILED, id="failed"),
            pytest.param(J.CANCELLED, V.TRAINING_FAILED, id="cancelled"),
            pytest.param(J.SUCCEEDED, V.TRAINING_IN_PROGRESS, id="succeeded is the trainer's to tell"),
        ],
    )
    def test_version_fails_with_its_job(self, store: Store, to: JobStatus, expected: VersionStatus) -> None:
        store.create_version("p", dataset_version=1, at=1.0)
        store.enqueue("train", "p", version=1, at=1.0)
        job = store.claim("a", kinds=["train"], at=1.0)
        assert job is not None
        store.finish(job.id, str(job.lock_token), to, message="because", at=3.0)
        version = store.version("p", 1)
        assert version.status is expected
        assert version.status_message == ("because" if expected is V.TRAINING_FAILED else "")

    def test_trained_version_outlives_a_failed_job(self, store: Store) -> None:
        trained(store)
        store.enqueue("train", "p", version=1, at=1.0)
        job = store.claim("a", kinds=["train"], at=1.0)
        assert job is not None
        store.finish(job.id, str(job.lock_token), J.FAILED, at=3.0)
        assert store.version("p", 1).status is V.TRAINING_COMPLETED

    def test_cancel_queued_at_once(self, store: Store) -> None:
        store.create_version("p", dataset_version=1, at=1.0)
        job = store.enqueue("train", "p", version=1, at=1.0)
        assert store.cancel(job.id, at=2.0).status is J.CANCELLED
        assert store.claim("a", kinds=["train"], at=3.0) is None
        assert store.version("p", 1).status is V.TRAINING_FAILED

    def test_cancel_running_asks(self, store: Store) -> None:
        job = self.claimed(store)
        asked = store.cancel(job.id, at=3.0)
        assert (asked.status, asked.cancel_requested) == (J.RUNNING, True)
        assert not store.heartbeat(job.id, str(job.lock_token), at=4.0)
        assert store.finish(job.id, str(job.lock_token), J.CANCELLED, at=5.0).status is J.CANCELLED

    def test_cancel_finished_is_refused(self, store: Store) -> None:
        job = self.claimed(store)
        store.finish(job.id, str(job.lock_token), J.SUCCEEDED, at=3.0)
        with pytest.raises(IllegalTransition):
            store.cancel(job.id, at=4.0)

    def test_requeued_left_behind_job_has_a_new_holder(self, store: Store) -> None:
        job = self.claimed(store)
        store.cancel(job.id, at=2.5)
        assert store.requeue(job.id, at=3.0).status is J.QUEUED
        assert not store.heartbeat(job.id, str(job.lock_token), at=4.0)
        again = store.claim("b", kinds=["train"], job_id=job.id, at=5.0)
        assert again is not None
        assert (again.attempts, again.owner, again.cancel_requested) == (2, "b", False)
        with pytest.raises(IllegalTransition):
            store.finish(job.id, str(job.lock_token), J.SUCCEEDED, at=6.0)

    def test_listed_newest_first(self, store: Store) -> None:
        store.create_project("q", Task.DETECTION, at=1.0)
        ids = [store.enqueue("train", name, at=1.0).id for name in ("p", "q", "p")]
        store.claim("a", kinds=["train"], at=2.0)
        assert [job.id for job in store.jobs()] == ids[::-1]
        assert [job.id for job in store.jobs(project="p", statuses=[J.QUEUED])] == [ids[2]]
        assert [job.id for job in store.jobs(statuses=[J.RUNNING])] == [ids[0]]

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda s: s.job(9), id="get"),
            pytest.param(lambda s: s.cancel(9, at=1.0), id="cancel"),
            pytest.param(lambda s: s.requeue(9, at=1.0), id="requeue"),
            pytest.param(lambda s: s.finish(9, "t", J.FAILED, at=1.0), id="finish"),
        ],
    )
    def test_unknown_job(self, store: Store, call: Callable[[Store], object]) -> None:
        with pytest.raises(JobNotFound):
            call(store)

    def test_every_change_has_its_event(self, store: Store) -> None:
        job = self.claimed(store)
        store.requeue(job.id, at=3.0)
        changes = [(event.old, event.new) for event in store.events() if event.noun == "job"]
        assert changes == [("", "QUEUED"), ("QUEUED", "RUNNING"), ("RUNNING", "QUEUED")]


class TestEndpoints:
    @pytest.fixture
    def version(self, store: Store) -> ModelVersion:
        store.create_project("p", Task.CLASSIFICATION, at=1.0)
        return trained(store)

    def test_put_once(self, store: Store, version: ModelVersion) -> None:
        put = store.put_endpoint(endpoint(version))
        assert store.endpoint(version.id) == put == endpoint(version)
        with pytest.raises(ResourceInUse, match="p@1"):
            store.put_endpoint(endpoint(version, port=4000))
        assert store.endpoints() == [put]

    def test_version_must_exist(self, store: Store, version: ModelVersion) -> None:
        with pytest.raises(VersionNotFound):
            store.put_endpoint(endpoint(version, version_id=version.id + 1))

    def test_update(self, store: Store, version: ModelVersion) -> None:
        store.put_endpoint(endpoint(version))
        changed = store.update_endpoint(version.id, ready_at=5.0, stop_requested=True, meter_id="m")
        assert (
            changed == store.endpoint(version.id) == endpoint(version, ready_at=5.0, stop_requested=True, meter_id="m")
        )
        assert store.update_endpoint(version.id) == changed

    def test_update_of_a_gone_one(self, store: Store, version: ModelVersion) -> None:
        assert store.update_endpoint(version.id, port=1) is None

    @pytest.mark.parametrize("field", ["speed", "version_id"])
    def test_update_of_an_unknown_field(self, store: Store, version: ModelVersion, field: str) -> None:
        store.put_endpoint(endpoint(version))
        with pytest.raises(TypeError, match=field):
            store.update_endpoint(version.id, **{field: 1})

    def test_removed_twice(self, store: Store, version: ModelVersion) -> None:
        store.put_endpoint(endpoint(version))
        store.remove_endpoint(version.id)
        store.remove_endpoint(version.id)
        assert store.endpoint(version.id) is None
        assert store.endpoints() == []


class TestMetering:
    def opened(self, store: Store, at: float = 100.0, multiplier: float = 2.0) -> None:
        store.open_meter(
            "m", unit="second", project="p", version=1, operation="serve", multiplier=multiplier, at=at
        )  # fmt: skip

    def test_meter_counts_to_its_last_beat(self, store: Store) -> None:
        self.opened(store)
        assert [record.quantity for record in store.open_meters()] == [0.0]
        for at in (103.0, 110.0, 105.0):
            store.beat_meter("m", at=at)
        expected = UsageRecord("m", "second", "p", 1, "serve", 20.0, 100.0, 110.0)
        assert store.open_meters() == [expected]
        assert store.usage() == [expected]
        store.close_meter("m", at=None)
        assert store.open_meters() == []
        assert store.usage() == [expected]

    @pytest.mark.parametrize(
        ("at", "quantity"),
        [pytest.param(120.0, 40.0, id="after the last beat"), pytest.param(90.0, 0.0, id="before it was opened")],
    )
    def test_meter_closed_at(self, store: Store, at: float, quantity: float) -> None:
        self.opened(store)
        store.beat_meter("m", at=110.0)
        store.close_meter("m", at=at)
        assert [record.quantity for record in store.usage()] == [quantity]

    def test_meter_opened_and_closed_twice_counts_once(self, store: Store) -> None:
        self.opened(store)
        self.opened(store, at=50.0, multiplier=9.0)
        store.close_meter("m", at=101.0)
        store.close_meter("m", at=500.0)
        store.beat_meter("m", at=900.0)
        self.opened(store, at=600.0)
        assert [(record.quantity, record.end) for record in store.usage()] == [(2.0, 101.0)]
        assert store.open_meters() == []

    @pytest.mark.parametrize("billed", [True, False])
    def test_first_close_says_whether_it_is_billed(self, store: Store, billed: bool) -> None:
        self.opened(store)
        store.close_meter("m", at=101.0, billed=billed)
        store.close_meter("m", at=101.0, billed=not billed)
        assert [record.billed for record in store.usage()] == [billed]

    def test_key_and_bill_of_a_record(self, store: Store) -> None:
        record = UsageRecord("a", "image", "p", 1, "predict", 2.0, 5.0, 5.0, "ak-1", False)
        store.add_usage([record])
        assert store.usage() == [record]

    def test_correction_keeps_its_reason(self, store: Store) -> None:
        store.add_usage([images("a", quantity=5.0)])
        store.add_correction(images("c", quantity=-2.0), reason="counted twice", at=9.0)
        assert [record.quantity for record in store.usage()] == [5.0, -2.0]
        (event,) = store.events()
        assert (event.noun, event.subject, event.message, event.at) == ("usage", "c", "counted twice", 9.0)
        with pytest.raises(AlreadyExists):
            store.add_correction(images("c", quantity=-2.0), reason="again", at=10.0)
        assert len(store.events()) == 1

    def test_usage_is_never_changed(self, store: Store, url: str) -> None:
        """The database itself refuses it, whatever the store is asked to do."""
        if not url.startswith("sqlite"):
            pytest.skip("the rule is written for SQLite")
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            for change in ("UPDATE", "DELETE"):
                database.execute(
                    f"CREATE TRIGGER no_{change} BEFORE {change} ON usage BEGIN SELECT RAISE(ABORT, 'rewritten'); END"
                )
            database.commit()
        store.create_project("p", Task.DETECTION, at=1.0)
        self.opened(store)
        store.beat_meter("m", at=110.0)
        store.close_meter("m", at=None)
        store.close_meter("m", at=500.0, billed=False)
        store.add_usage([images("a"), images("a", quantity=9.0)])
        store.add_usage([images("a", quantity=3.0)])
        store.add_usage_from("j", 0, 10, [images("a", quantity=4.0), images("b")])
        store.add_correction(images("c", quantity=-1.0), reason="wrong", at=1.0)
        store.delete_project("p", at=2.0)
        assert {record.id: record.quantity for record in store.usage()} == {"m": 20.0, "a": 1.0, "b": 1.0, "c": -1.0}

    def test_unknown_meter_is_nothing(self, store: Store) -> None:
        store.beat_meter("x", at=1.0)
        store.close_meter("x", at=1.0)
        assert store.usage() == []

    def test_usage_counted_once_by_id(self, store: Store) -> None:
        assert store.add_usage([images("a"), images("b"), images("a", quantity=9.0)]) == 2
        assert store.add_usage([images("b"), images("c")]) == 1
        assert store.add_usage([]) == 0
        assert {record.id: record.quantity for record in store.usage()} == {"a": 1.0, "b": 1.0, "c": 1.0}

    def test_many_records_at_once(self, store: Store) -> None:
        assert store.add_usage(images(str(i)) for i in range(3000)) == 3000
        assert len(store.usage()) == 3000

    def test_journal_taken_exactly_once(self, store: Store) -> None:
        assert store.usage_offset("j") == 0
        assert store.add_usage_from("j", 0, 100, [images("a")])
        assert not store.add_usage_from("j", 0, 100, [images("b")])
        assert not store.add_usage_from("j", 0, 80, [images("b")])
        assert not store.add_usage_from("j", 0, 150, [images("b")])  # read before the first one was stored
        assert not store.add_usage_from("j", 120, 150, [images("b")])
        assert store.add_usage_from("j", 100, 200, [images("a"), images("c")])
        assert store.add_usage_from("other", 0, 10, [images("d")])
        assert (store.usage_offset("j"), store.usage_offset("other")) == (200, 10)
        assert sorted(record.id for record in store.usage()) == ["a", "c", "d"]

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            pytest.param(None, None, "abc", id="all"),
            pytest.param(20.0, None, "bc", id="from the point itself"),
            pytest.param(None, 20.0, "ac", id="up to but not with the point"),
            pytest.param(21.0, 22.0, "c", id="inside a span"),
            pytest.param(30.0, 40.0, "", id="a span that ends where it begins"),
            pytest.param(0.0, 10.0, "", id="a span that begins where it ends"),
        ],
    )
    def test_usage_in_a_span(self, store: Store, start: float | None, end: float | None, expected: str) -> None:
        store.add_usage([images("a", 12.0), images("b", 20.0), images("c", start=10.0, end=30.0)])
        assert "".join(sorted(record.id for record in store.usage(start=start, end=end))) == expected

    def test_open_meters_in_a_span(self, store: Store) -> None:
        self.opened(store)
        store.beat_meter("m", at=110.0)
        assert len(store.usage(start=105.0, end=106.0)) == 1
        assert store.usage(start=110.0) == []


class TestBudgets:
    @pytest.fixture(autouse=True)
    def project(self, store: Store) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)

    def test_set_again_takes_the_place_and_forgets_what_was_told(self, store: Store) -> None:
        store.put_budget(Budget("p", 20.0, "month", False, 1.0))
        store.add_warnings("p", ["2026-11:80"])
        store.put_budget(second := Budget("p", 40.0, "day", True, 2.0))
        assert store.budgets() == [second]

    def test_of_no_project(self, store: Store) -> None:
        with pytest.raises(ProjectNotFound):
            store.put_budget(Budget("q", 20.0, "month", False, 1.0))
        assert store.budgets() == []

    def test_mark_is_given_once(self, store: Store) -> None:
        assert store.add_warnings("p", ["a"]) == []
        store.put_budget(Budget("p", 20.0, "month", False, 1.0))
        assert store.add_warnings("p", ["a", "b", "a"]) == ["a", "b"]
        assert store.add_warnings("p", ["b", "c"]) == ["c"]
        assert store.budgets()[0].warned == ("a", "b", "c")

    def test_removed(self, store: Store) -> None:
        store.put_budget(Budget("p", 20.0, "month", False, 1.0))
        assert store.remove_budget("p")
        assert not store.remove_budget("p")
        assert store.budgets() == []

    def test_goes_with_its_project(self, store: Store) -> None:
        store.put_budget(Budget("p", 20.0, "month", False, 1.0))
        store.delete_project("p", at=2.0)
        assert store.budgets() == []


class TestEvents:
    def test_in_order_after_an_id(self, store: Store) -> None:
        for name in "abc":
            store.create_project(name, Task.DETECTION, at=1.0)
        events = store.events()
        assert [event.subject for event in events] == ["a", "b", "c"]
        assert [event.subject for event in store.events(after=events[0].id)] == ["b", "c"]


class TestSharing:
    def test_reopened_store_has_everything(self, url: str, store: Store) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)
        store.close()
        assert [project.name for project in store.projects()] == ["p"]
        assert SqlStore(url).project("p") == store.project("p")

    def test_two_processes_open_a_new_store(self, url: str) -> None:
        assert processes(url, *[["open"]] * 4) == [0] * 4

    def test_two_processes_write_at_once(self, url: str, store: Store) -> None:
        times = 60
        store.create_project("shared", Task.DETECTION, at=1.0)
        store.create_version("shared", dataset_version=1, at=1.0)
        numbers = processes(url, ["write", "left", str(times)], ["write", "right", str(times)])
        assert sorted(numbers[0] + numbers[1]) == list(range(2, 2 * times + 2))
        assert len(store.version("shared", 1).details) == 2 * times
        assert len([record for record in store.usage() if record.unit == "image"]) == 3 * times
        assert len(store.open_meters()) == 1
        events = store.events()
        assert len(events) == 2 + 4 * times
        assert [event.id for event in events] == sorted({event.id for event in events})

    def test_of_many_claimers_one_gets_a_job(self, url: str, store: Store) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)
        queued = [store.enqueue("train", "p", at=1.0).id for _ in range(60)]
        claimed = processes(url, *[["claim", f"worker-{i}"] for i in range(3)])
        assert sorted(job for jobs in claimed for job in jobs) == queued
        assert {job.status for job in store.jobs()} == {J.SUCCEEDED}

    def test_forked_child_has_connections_of_its_own(self, store: Store) -> None:
        store.create_project("p", Task.DETECTION, at=1.0)
        child = os.fork()
        if child == 0:
            try:
                store.create_project("child", Task.DETECTION, at=1.0)
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [project.name for project in store.projects()] == ["child", "p"]

    def test_failed_method_does_nothing(self, store: Store) -> None:
        def broken() -> Iterator[UsageRecord]:
            yield images("a")
            raise OSError("the journal is gone")

        with pytest.raises(TenshotError):
            store.add_usage_from("j", 0, 100, broken())
        assert store.usage() == []
        assert store.usage_offset("j") == 0


class TestAccessKeys:
    def test_are_kept_as_they_were_given(self, store: Store) -> None:
        made = [store.add_access_key(access_key(f"TSAK{n}", created_at=float(-n), projects=("b", "a"))) for n in (1, 2)]
        assert store.access_key("TSAK1") == made[0]
        assert store.access_keys() == made[::-1], "oldest first"

    def test_an_id_is_given_once(self, store: Store) -> None:
        store.add_access_key(access_key("TSAK1"))
        store.revoke_access_key("TSAK1", at=5.0)
        with pytest.raises(AlreadyExists):
            store.add_access_key(access_key("TSAK1", role="admin"))
        assert store.access_key("TSAK1").role == "app"

    def test_are_revoked_once_and_for_good(self, store: Store) -> None:
        store.add_access_key(access_key("TSAK1"))
        other = store.add_access_key(access_key("TSAK2"))
        assert store.revoke_access_key("TSAK1", at=5.0).revoked_at == 5.0
        assert store.revoke_access_key("TSAK1", at=6.0).revoked_at == 5.0
        assert store.access_key("TSAK2") == other

    def test_unknown_ones(self, store: Store) -> None:
        assert store.access_keys() == []
        for look in (store.access_key, lambda one: store.revoke_access_key(one, at=1.0)):
            with pytest.raises(AccessKeyNotFound):
                look("TSAK1")


def access_key(identity: str, **changes: Any) -> AccessKey:
    values: dict[str, Any] = {
        "id": identity, "secret_sha256": "0" * 64, "secret_sealed": "x", "role": "app", "projects": (), "note": "",
        "created_at": 1.0,
    }  # fmt: skip
    return AccessKey(**values | changes)
