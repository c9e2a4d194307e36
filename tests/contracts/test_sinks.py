"""What a metering sink promises, on every row of SINKS."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

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

    def test_a_line_that_is_no_record_is_passed_over(self, sink: Sink, workspace: Workspace) -> None:
        sink.write([image("a")])
        with (workspace.home / "usage.jsonl").open("a") as stream:
            stream.write("\0\0\0\n\n[]\n")
        assert sink.write([image("a"), image("b")]) == 1

    def test_one_that_cannot_be_written_withholds_nothing(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TENSHOT_METERING__SINKS", "[jsonlines, prometheus]")
        workspace.store.add_usage([image("a")])
        (workspace.home / "usage.jsonl").mkdir()
        found = ledger.account(workspace)
        assert [row.quantity for row in found.rows] == [1.0]
        (trouble,) = found.troubles
        assert trouble.startswith("the sink jsonlines cannot be written")
        assert (workspace.home / "usage.prom").is_file(), "the others are written"

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

    def test_key_and_bill_are_written(self, sink: Sink, workspace: Workspace) -> None:
        sink.write([UsageRecord("a", "image", "p", 1, "predict", 2.0, 5.0, 5.0, "ak-1", False)])
        (line,) = (workspace.home / "usage.jsonl").read_text("utf-8").splitlines()
        assert (json.loads(line)["key"], json.loads(line)["billed"]) == ("ak-1", False)


class TestPrometheus:
    @pytest.fixture
    def sink(self, workspace: Workspace) -> Sink:
        return SINKS.get("prometheus")(workspace)

    def values(self, workspace: Workspace) -> dict[str, float]:
        """Read as Prometheus reads it."""
        families = text_string_to_metric_families((workspace.home / "usage.prom").read_text("utf-8"))
        return {
            f"{sample.name} {sample.labels['project']} {sample.labels['billed']}": sample.value
            for family in families
            for sample in family.samples
        }

    def test_counters_only_grow(self, sink: Sink, workspace: Workspace) -> None:
        odd = 'a "b" \\ c\nd'
        sink.write([image("a", 2.0), UsageRecord("u", "image", "é", 1, "predict", 3.0, 1.0, 1.0, "", False)])
        sink.write([UsageRecord("o", "image", odd, None, "predict", 4.0, 1.0, 1.0)])
        assert self.values(workspace) == {
            "tenshot_usage_total é true": 2.0,
            "tenshot_usage_total é false": 3.0,
            f"tenshot_usage_total {odd} true": 4.0,
        }
        type(sink)(workspace).write([image("a", 2.0), image("b"), image("c", -1.5)])
        found = self.values(workspace)
        assert found["tenshot_usage_total é true"] == 3.0
        assert found["tenshot_usage_corrected_total é true"] == 1.5

    def test_lost_file_is_written_again(self, sink: Sink, workspace: Workspace) -> None:
        sink.write([image("a", 2.0)])
        (workspace.home / "usage.prom").unlink()
        assert sink.write([]) == 0
        assert self.values(workspace) == {"tenshot_usage_total é true": 2.0}

    def test_many_writers(self, workspace: Workspace) -> None:
        def write(turn: int) -> int:
            return SINKS.get("prometheus")(workspace).write([image(str(turn // 2))])

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(write, range(20))) == 10
        assert self.values(workspace) == {"tenshot_usage_total é true": 10.0}
        assert list(workspace.home.glob("*.tmp")) == []
