"""The table of endpoints: what it reads, what it reckons, and how it looks."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from fixtures_serving import trained
from rich.console import Console

from tenshot.projects import cli
from tenshot.projects.records import Endpoint
from tenshot.projects.status import VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving import watching
from tenshot.serving.endpoints import drift_file, live
from tenshot.serving.endpoints.control import EndpointView
from tenshot.serving.endpoints.drift import Drift, Part, Verdict
from tenshot.serving.endpoints.live import Now, Onlooker, Sample, idle_stop_in, quantile, read_sample

AT = 1_800_000_000.0


def endpoint(**changes: object) -> Endpoint:
    values: dict[str, object] = {
        "version_id": 1, "ref": "colours@1", "host": "127.0.0.1", "port": 3000, "units": 1, "idle_stop_s": 600.0,
        "supervisor_pid": 1, "supervisor_started_at": 0.0, "started_at": AT - 100, "ready_at": AT - 90, "beat_at": AT,
        "last_request_at": AT - 30, "restarts": 0, "stop_requested": False, "meter_id": None, "workers": 1,
    }  # fmt: skip
    return Endpoint(**(values | changes))  # type: ignore[arg-type]


class TestReckoning:
    @pytest.mark.parametrize(
        ("buckets", "share", "expected"),
        [
            pytest.param({}, 0.5, None, id="no bucket"),
            pytest.param({0.1: 0.0, math.inf: 0.0}, 0.5, None, id="empty"),
            pytest.param({0.1: 10.0, 0.2: 10.0, math.inf: 10.0}, 0.5, 0.05, id="within the first"),
            pytest.param({0.1: 0.0, 0.2: 10.0, math.inf: 10.0}, 0.5, 0.15, id="within the second"),
            pytest.param({0.1: 5.0, 0.2: 5.0, math.inf: 10.0}, 0.95, 0.2, id="beyond the last"),
        ],
    )
    def test_quantile(self, buckets: dict[float, float], share: float, expected: float | None) -> None:
        assert quantile(buckets, share) == (None if expected is None else pytest.approx(expected))

    def test_since(self) -> None:
        early, late = Sample(0.0, 10.0, 1.0, {0.1: 4.0}), Sample(5.0, 30.0, 2.0, {0.1: 9.0, 0.2: 3.0})
        assert late.since(early) == Sample(5.0, 20.0, 1.0, {0.1: 5.0, 0.2: 3.0})
        assert early.since(late) == early, "it was started anew"
        assert late.since(None) == late

    @pytest.mark.parametrize(
        ("changes", "left"),
        [
            pytest.param({}, 570.0, id="after a request"),
            pytest.param({"last_request_at": None}, 510.0, id="after the start"),
            pytest.param({"idle_stop_s": 0.0}, None, id="never"),
            pytest.param({"ready_at": None}, None, id="asleep"),
            pytest.param({"idle_stop_s": 5.0}, 0.0, id="overdue"),
        ],
    )
    def test_idle_stop(self, changes: dict[str, object], left: float | None) -> None:
        assert idle_stop_in(endpoint(**changes), AT) == left

    def test_counters_of_workers_that_ended_stay(self, tmp_path: Path) -> None:
        """Two workers write, one of them is gone, and another one takes its place."""
        program = (
            "import sys\n"
            "from prometheus_client import values\n"
            "values.ValueClass = values.MultiProcessValue(lambda: int(sys.argv[1]))\n"
            "from tenshot.serving.endpoints.measures import Measures\n"
            "measures = Measures('colours@1')\n"
            "for status in (200, 200, 503):\n"
            "    with measures.request() as seen:\n"
            "        seen.status = status\n"
            "measures.refused()\n"
            "measures._in_flight.inc()\n"
        )
        for slot in ("0", "1", "1"):
            environ = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""}
            subprocess.run([sys.executable, "-c", program, slot], env=environ, check=True, timeout=50)
        sample = read_sample(tmp_path, AT)
        assert (sample.requests, sample.refused) == (12.0, 6.0)
        assert sample.buckets[math.inf] == 9.0
        assert {path.name for path in tmp_path.glob("gauge_live*")} == {
            f"gauge_{mode}_{slot}.db" for mode in ("livesum", "livemostrecent") for slot in (0, 1)
        }
        assert read_sample(tmp_path / "none", AT) == Sample(AT)


class TestOnlooker:
    def test_rates_are_of_late(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        ref, at, totals = trained(workspace), [AT], iter([100.0, 110.0, 130.0, 130.0, 5.0])
        view = EndpointView(ref, VersionStatus.RUNNING, "", endpoint())
        monkeypatch.setattr(live.control, "endpoints", lambda _: [view])
        monkeypatch.setattr(live, "read_sample", lambda _, when: Sample(when, next(totals)))
        monkeypatch.setattr(live, "memory_of", lambda _: 5)
        onlooker = Onlooker(workspace, lambda: at[0])
        rates = []
        for _ in range(5):
            [now] = onlooker.look()
            rates.append(now.requests_per_s)
            at[0] += 10.0
        assert rates == [round(100 / 90, 3), 1.0, 2.0, 0.0, round(5 / 130, 3)]
        assert now.drift is not None
        assert now.drift.verdict is Verdict.UNAVAILABLE, "a bundle without descriptors"
        assert now.cost == 0.0

    def test_one_that_failed_has_its_reason_only(self, workspace: Workspace) -> None:
        trained(workspace)
        workspace.store.advance_version("colours", 1, VersionStatus.STARTING, at=AT)
        workspace.store.advance_version("colours", 1, VersionStatus.FAILED, message="no luck", at=AT)
        [now] = Onlooker(workspace).look()
        assert (now.view.message, now.requests_per_s, now.drift) == ("no luck", None, None)
        assert "no luck" in shown(watching.table([now]))


def shown(parts: list[object], width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    for part in parts:
        console.print(part)
    return console.export_text()


class TestLooks:
    DRIFT = Drift(Verdict.DRIFTED, 50, 10, {"strangeness": Part(0.876, 1e-9, 3.2, 50)})
    NOW = Now(
        EndpointView("colours@1", VersionStatus.RUNNING, "", endpoint(max_units=4, secured=True, tls=True)),
        requests_per_s=123.4, p50_s=0.0123, p95_s=0.5, refused=7.0, requests=1000.0, memory_bytes=300 << 20,
        drift=DRIFT, cost=1.239, currency="USD", idle_stop_in_s=3725.0,
    )  # fmt: skip

    def test_a_row_fits_80_columns(self) -> None:
        lines = shown(watching.table([self.NOW])).splitlines()
        assert lines[1].split() == [
            "colours@1",
            "RUNNING",
            "1/4",
            "123.4",
            "12.3",
            "500.0",
            "7",
            "300",
            "0.88",
            "1.24",
            "1:02:05",
        ]
        assert lines[2] == "colours@1: https://127.0.0.1:3000, with an access key"
        assert len(lines) == 3

    def test_json_says_the_same(self) -> None:
        document = json.loads(json.dumps(self.NOW.to_json()))
        assert (document["p50_ms"], document["refused_503"], document["idle_stop_in_s"]) == (12.3, 7.0, 3725.0)
        assert (document["secured"], document["tls"], document["max_units"]) == (True, True, 4)
        assert document["drift"]["verdict"] == "drifted"

    def test_none(self) -> None:
        assert "no endpoint runs" in shown(watching.table([]))

    def test_sparkline(self) -> None:
        assert watching.sparkline([None, 0.0, 0.5, 1.0]) == "·▁▅█"


class TestDriftCommand:
    @pytest.mark.parametrize("as_json", [False, True])
    def test_hours(self, workspace: Workspace, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
        ref = trained(workspace, novelty=True)
        folder = workspace.endpoint_dir("colours", 1)
        folder.mkdir(parents=True)
        for hour, bins in ((500_000, {-346: 40}), (500_001, {-8: 3})):
            drift_file.append(drift_file.path_in(folder), hour, {"strangeness": bins})  # type: ignore[dict-item]
        assert cli.run(["endpoints", "drift", ref, *(["--json"] if as_json else [])]) == 0
        out = capsys.readouterr().out
        if as_json:
            first, second = json.loads(out)["hours"]
            assert (first["hour"], first["images"], second["verdict"]) == ("2027-01-15T08:00:00Z", 40, "unknown")
            assert 0 < first["distance"] <= 1
            assert second["distance"] is None
        else:
            assert "2027-01-15 08:00" in out
            assert "unknown" in out

    def test_not_available(self, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["endpoints", "drift", trained(workspace)]) == 0
        assert "not available" in capsys.readouterr().out
        assert cli.run(["endpoints", "drift", "colours@1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"version": "colours@1", "available": False, "hours": []}

    def test_nothing_yet(self, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.run(["endpoints", "drift", trained(workspace, novelty=True)]) == 0
        assert "no images yet" in capsys.readouterr().out


def test_watching_ends_with_ctrl_c(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def sleep(_: float) -> None:
        looks.append(True)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
    assert cli.run(["endpoints", "--watch", "--every", "0.5"]) == 0
    assert len(looks) == 3
