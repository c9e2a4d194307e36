"""`tenshot bench` against a real endpoint: the ledger counts what it sent, and it leaves things as they were."""

from __future__ import annotations

import json

import pytest
from fixtures_serving import picture, trained

from tenshot.projects import cli
from tenshot.projects.metering import journal
from tenshot.projects.status import VersionStatus
from tenshot.serving.endpoints import control

pytestmark = pytest.mark.slow


def images_counted(workspace) -> float:
    journal.collect(workspace.store, workspace.home / "endpoints")
    return sum(record.quantity for record in workspace.store.usage() if record.unit == "image")


def test_bench(workspace, tmp_path, capfd) -> None:
    ref = trained(workspace)
    for i in (0, 1, 3):
        (tmp_path / f"{i}.jpg").write_bytes(picture((80 * i, 0, 0), (320, 240), "JPEG"))
    (tmp_path / "2.jpg").write_bytes(b"no image")  # the third of three clients begins with it
    words = ["bench", ref, str(tmp_path), "--clients", "1,3", "--seconds", "0.5", "--rate", "1000000", "--json"]
    assert cli.run([*words, "--save", str(tmp_path / "saved")]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["started"]
    assert workspace.resolve(ref).status is VersionStatus.STOPPED
    assert [one["clients"] for one in found["stages"]] == [1, 3]
    for one in found["stages"]:
        assert set(one["failed"]) <= {"HTTP 400"}
        assert one["requests"] > sum(one["failed"].values())
        assert 0 < one["p50_ms"] <= one["p95_ms"] <= one["p99_ms"]
        assert one["cores"] >= 0
        assert one["memory_bytes"] > 10_000_000
    assert found["stages"][1]["failed"]["HTTP 400"] > 0
    assert not found["recommendation"]["enough"]
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"bench.json", "bench.svg"}
    answered = sum(one["requests"] - sum(one["failed"].values()) for one in found["stages"])
    assert images_counted(workspace) > answered  # the warm-up is counted as well

    control.start(workspace, ref)
    try:
        assert cli.run(["bench", ref, str(tmp_path / "0.jpg"), "--clients", "2", "--seconds", "0.3"]) == 0
        said = capfd.readouterr()
        assert "requests/s" in said.out
        assert "2 clients, 0.3 s" in said.err
        assert workspace.resolve(ref).status is VersionStatus.RUNNING
    finally:
        control.stop(workspace, ref)
