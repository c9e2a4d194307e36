"""What a metering sink promises, on every row of SINKS."""

from __future__ import annotations

import json

import pytest

from tenshot.projects.metering import ledger
from tenshot.projects.metering.sinks import SINKS, Sink
from tenshot.projects.records import UsageRecord
from tenshot.projects.workspace import Workspace


def image(identity: str, quantity: float = 1.0) -> UsageRecord:
    return UsageRecord(identity, "image", "é", 1, "predict", quantity, 10.0, 10.0)


@pytest.fixture(params=list(SINKS))
def sink(request: pytest.FixtureRequest, workspace: Workspace) -> Sink:
    return SINKS.get(request.param)(workspace)


def test_duplicate_is_counted_once(sink: Sink) -> None:
    assert sink.write([image("a"), image("b"), image("a", 5.0)]) == 2
    assert sink.write([image("b"), image("c")]) == 1
    assert sink.write([]) == 0


def test_duplicate_is_known_after_a_restart(sink: Sink, workspace: Workspace) -> None:
    sink.write([image("a")])
    assert type(sink)(workspace).write([image("a"), image("b")]) == 1


class TestJsonLines:
    @pytest.fixture
    def sink(self, workspace: Workspace) -> Sink:
        return SINKS.get("jsonlines")(workspace)

    def lines(self, workspace: Workspace) -> list[str]:
        return [json.loads(line)["id"] for line in (workspace.home / "usage.jsonl").read_text("utf-8").splitlines()]

    def test_torn_line_is_written_again(self, sink: Sink, workspace: Workspace) -> None:
        sink.write([image("a"), image("b")])
        path = workspace.home / "usage.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        assert sink.write([image("a"), image("b")]) == 1
        assert self.lines(workspace) == ["a", "b"]

    def test_account_forwards_what_is_finished(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TENSHOT_METERING__SINKS", "[jsonlines]")
        store = workspace.store
        store.add_usage([image("a")])
        store.open_meter("m", unit="image", project="p", version=1, operation="x", multiplier=1.0, at=1.0)
        ledger.account(workspace)
        assert self.lines(workspace) == ["a"]
        store.close_meter("m", at=5.0)
        ledger.account(workspace)
        assert self.lines(workspace) == ["a", "m"]
