"""The commands project, usage, jobs and doctor, through the front door."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tenshot.projects import cli, clock, console, doctor
from tenshot.projects.doctor import Finding
from tenshot.projects.errors import TenshotError
from tenshot.projects.metering import journal, notices
from tenshot.projects.records import UsageRecord
from tenshot.projects.status import JobStatus, Task, VersionStatus
from tenshot.projects.workspace import Workspace

HOUR = 1_795_000_000 // 3600 * 3600


@pytest.fixture
def ask(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run with --json; exit status and document."""

    def run(*argv: str) -> tuple[int, Any]:
        status = cli.run([*argv, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def read(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run for people; what was printed on stdout."""

    def run(*argv: str) -> str:
        assert cli.run(argv) == 0
        return capsys.readouterr().out

    return run


class TestProject:
    def test_create_list_show(self, ask: Any, read: Any) -> None:
        status, made = ask("project", "create", "solar", "--task", "classification")
        assert status == 0
        assert (made["name"], made["task"], made["status"]) == ("solar", "classification", "CREATED")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", made["created_at"])
        assert ask("project", "list") == (0, {"projects": [made]})
        assert ask("project", "show", "solar") == (0, made | {"dataset": None, "versions": []})
        assert "solar" in read("project", "list")
        assert "tenshot dataset import solar" in read("project", "show", "solar")

    def test_show_with_images_and_versions(self, workspace: Workspace, ask: Any, read: Any) -> None:
        store = workspace.store
        store.create_project("p", Task.DETECTION, at=1.0)
        stats = {"train": {"images": 10, "labels": {"a": 12}}, "test": {"images": 4, "labels": {}}, "refused": 0}
        store.add_dataset_version("p", snapshot_sha256="a" * 64, parent=None, source="x", stats=stats, at=1.0)
        store.create_version("p", dataset_version=1, at=1.0)
        store.advance_version("p", 1, VersionStatus.TRAINING_FAILED, message="[red]no[/x]", at=2.0)
        _, document = ask("project", "show", "p")
        assert document["dataset"] == {"version": 1, "stats": stats}
        assert (document["versions"][0]["ref"], document["versions"][0]["status"]) == ("p@1", "TRAINING_FAILED")
        printed = read("project", "show", "p")
        assert "10 train, 4 test images" in printed
        assert "[red]no[/x]" in printed

    def test_name_taken(self, ask: Any) -> None:
        ask("project", "create", "p", "--task", "detection")
        status, document = ask("project", "create", "p", "--task", "detection")
        assert (status, document["error"]["code"]) == (1, "AlreadyExists")

    @pytest.mark.parametrize("name", ["a", "A-b_c.9", "x" * 200, ".hidden"])
    def test_good_names(self, ask: Any, name: str) -> None:
        assert ask("project", "create", name, "--task", "detection")[0] == 0

    @pytest.mark.parametrize("name", ["", ".", "..", "a b", "a/b", "ä", "x" * 201, "a\n"])
    def test_bad_names(self, ask: Any, name: str) -> None:
        status, document = ask("project", "create", name, "--task", "detection")
        assert (status, document["error"]["code"]) == (2, "UsageError")

    def test_unknown(self, ask: Any) -> None:
        ask("project", "create", "solar", "--task", "detection")
        status, document = ask("project", "show", "sollar")
        assert (status, document["error"]["code"]) == (1, "ProjectNotFound")
        assert "solar" in document["error"]["hint"]


class TestDelete:
    @pytest.fixture(autouse=True)
    def project(self, workspace: Workspace) -> None:
        workspace.store.create_project("p", Task.DETECTION, at=1.0)
        workspace.store.create_version("p", dataset_version=1, at=1.0)
        workspace.store.advance_version("p", 1, VersionStatus.TRAINING_COMPLETED, at=2.0)
        for folder in (workspace.bundle_dir("p", 1), workspace.bundle_dir("other", 1), workspace.endpoint_dir("p", 1)):
            folder.mkdir(parents=True)
        for name in ("p", "other"):
            (workspace.home / "bentoml" / "bentos" / name / "1-abc").mkdir(parents=True)
        journal.append(journal.path_in(workspace.endpoint_dir("p", 1)), "predict", 7, 1000.0)

    def test_files_go_and_usage_stays(self, workspace: Workspace, ask: Any) -> None:
        assert ask("project", "delete", "p", "--yes") == (0, {"deleted": "p"})
        assert workspace.store.projects() == []
        assert not (workspace.home / "models" / "p").exists()
        assert not workspace.endpoint_dir("p", 1).exists()
        assert workspace.bundle_dir("other", 1).exists()
        assert [path.name for path in (workspace.home / "bentoml" / "bentos").iterdir()] == ["other"]
        assert [record.quantity for record in workspace.store.usage()] == [7.0]

    def test_nobody_to_ask(self, workspace: Workspace, ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
        status, document = ask("project", "delete", "p")
        assert (status, document["error"]["code"]) == (2, "UsageError")
        assert "--yes" in document["error"]["hint"]
        assert len(workspace.store.projects()) == 1

    @pytest.mark.parametrize(("said", "status", "left"), [("y\n", 0, 0), ("n\n", 130, 1)])
    def test_asked(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, said: str, status: int, left: int
    ) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        monkeypatch.setattr("sys.stdin", Terminal(said))
        assert cli.run(["project", "delete", "p"]) == status
        assert len(workspace.store.projects()) == left

    def test_in_use(self, workspace: Workspace, ask: Any) -> None:
        workspace.store.advance_version("p", 1, VersionStatus.STARTING, at=3.0)
        status, document = ask("project", "delete", "p", "--yes")
        assert (status, document["error"]["code"]) == (1, "ResourceInUse")
        assert "tenshot stop p@1" in document["error"]["hint"]
        assert workspace.bundle_dir("p", 1).exists()


class TestUsage:
    @pytest.fixture(autouse=True)
    def used(self, workspace: Workspace) -> None:
        workspace.home.mkdir()
        (workspace.home / "prices.yaml").write_text(
            "currency: EUR\nunits:\n"
            "  inference_unit_second: {price: 3.6, per: 3600, hosted: 4.0}\n"
            "  image: {price: 1, per: 1000, hosted: null}\n"
        )
        serving = UsageRecord("e", "inference_unit_second", "p", 1, "serve", 20.0, HOUR + 3590.0, HOUR + 3610.0)
        workspace.store.add_usage([serving])
        folder = workspace.endpoint_dir("p", 1)
        folder.mkdir(parents=True)
        journal.append(journal.path_in(folder), "predict", 500, HOUR + 3600.0)

    def test_split_at_the_hour_priced_and_with_journals(self, ask: Any) -> None:
        status, document = ask("usage")
        assert status == 0
        assert [(row["operation"], row["quantity"]) for row in document["rows"]] == [
            ("serve", 10.0),
            ("predict", 500.0),
            ("serve", 10.0),
        ]
        assert set(document["rows"][0]) == {
            "from", "to", "hour", "project", "version", "operation", "key", "unit", "billed",
            "quantity", "cost", "hosted",
        }  # fmt: skip
        assert document["total"] == pytest.approx(0.52)
        assert document["currency"] == "EUR"
        assert ask("usage")[1] == document

    def test_in_a_span(self, ask: Any) -> None:
        moment = "2026-11-18T12:00:00Z"
        _, document = ask("usage", "--from", moment, "--by", "operation")
        begin = document["rows"]
        _, rest = ask("usage", "--to", moment, "--by", "operation")
        assert sum(row["quantity"] for row in [*begin, *rest["rows"]]) == pytest.approx(520.0)

    def test_an_hour_cut_in_two(self, ask: Any) -> None:
        from tenshot.projects.clock import iso

        middle = str(iso(HOUR + 3595.0))
        assert [row["quantity"] for row in ask("usage", "--to", middle)[1]["rows"]] == [5.0]

    def test_for_people(self, read: Any) -> None:
        printed = read("usage", "--by", "operation")
        assert "predict" in printed
        assert "total 0.5200 EUR" in printed

    def test_fits_80_columns(self, workspace: Workspace, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        (workspace.home / "prices.yaml").unlink()
        name, start = "solar-cells-2026", float(HOUR)
        for unit, quantity in (("inference_unit_second", 123_456.78), ("training_second", 245.1), ("image", 1e6)):
            record = UsageRecord(unit, unit, name, 12, "endpoint", quantity, start, start)
            workspace.store.add_usage([record])
        lines = read("usage").splitlines()
        assert max(map(len, lines)) <= 80
        assert sum(f"{name}@12" in line and line.startswith("2026-11-18 ") for line in lines) == 3
        assert any("123,456.78 unit s " in line for line in lines)

    @pytest.mark.parametrize("end", ["2026-11-01", "2026-11-02"])
    def test_empty_span(self, ask: Any, end: str) -> None:
        status, document = ask("usage", "--from", "2026-11-02", "--to", end)
        assert (status, document["error"]["code"]) == (2, "UsageError")
        assert "--from" in document["error"]["hint"]

    def test_nothing_used(self, read: Any) -> None:
        assert "nothing was used" in read("usage", "--from", "2030-01-01")

    def test_by_day_of_a_zone(self, workspace: Workspace, ask: Any) -> None:
        record = UsageRecord("z", "image", "p", 1, "predict", 7.0, HOUR + 43_200.0, HOUR + 43_200.0, "ak-1")
        workspace.store.add_usage([record])
        _, document = ask("usage", "--by", "day", "--zone", "Europe/Berlin", "--from", "2026-11-18")
        assert document["zone"] == "Europe/Berlin"
        days = {(row["from"][:10], row["unit"]): row["quantity"] for row in document["rows"]}
        assert days == {
            ("2026-11-18", "image"): 500.0, ("2026-11-18", "inference_unit_second"): 20.0, ("2026-11-19", "image"): 7.0,
        }  # fmt: skip
        _, document = ask("usage", "--by", "key")
        assert {row["key"] for row in document["rows"]} == {"", "ak-1"}

    def test_unknown_zone(self, ask: Any) -> None:
        status, document = ask("usage", "--zone", "Europe/Berln")
        assert (status, document["error"]["code"]) == (2, "UsageError")
        assert "Europe/Berlin" in document["error"]["hint"]

    def test_not_billed_is_shown(self, workspace: Workspace, ask: Any, read: Any) -> None:
        start = float(HOUR)
        workspace.store.add_usage([UsageRecord("f", "image", "p", 1, "x", 9.0, start, start, "", False)])
        _, document = ask("usage", "--by", "project")
        assert [(row["billed"], row["cost"]) for row in document["rows"] if row["unit"] == "image"] == [
            (True, 0.5),
            (False, 0.0),
        ]
        assert "– not billed" in read("usage")

    def test_csv(self, tmp_path: Path, read: Any, ask: Any) -> None:
        lines = read("usage", "--by", "project", "--csv", "-").splitlines()
        assert lines[0].startswith("from,to,project,version,operation,key,unit,billed,quantity,cost,currency")
        assert lines[1] == ",,p,,,,image,true,500.0,0.5,EUR,"
        read("usage", "--by", "project", "--csv", str(tmp_path / "x.csv"))
        assert (tmp_path / "x.csv").read_text("utf-8").splitlines() == lines
        assert ask("usage", "--csv", "-")[1]["error"]["code"] == "UsageError"

    def test_bars_and_chart(self, tmp_path: Path, read: Any, ask: Any) -> None:
        assert "█" in read("usage", "--by", "project", "--bars")
        assert ask("usage", "--by", "hour", "--chart", str(tmp_path / "x.svg"))[0] == 0
        assert (tmp_path / "x.svg").read_text("utf-8").startswith("<svg")
        status, document = ask("usage", "--chart", str(tmp_path / "x.gif"))
        assert (status, document["error"]["code"]) == (2, "UnknownNameError")

    def test_records_and_corrections(self, workspace: Workspace, ask: Any, read: Any) -> None:
        _, document = ask("usage", "records")
        images = next(record for record in document["records"] if record["unit"] == "image")
        status, made = ask("usage", "correct", images["id"], "--reason", "a test ran wild", "--quantity", "100")
        assert (status, made["quantity"], made["reason"]) == (0, -100.0, "a test ran wild")
        assert ask("usage", "correct", images["id"], "--reason", "the rest, too")[1]["quantity"] == -400.0
        for words in (["--reason", "once more"], ["--quantity", "1", "--reason", ""]):
            assert ask("usage", "correct", images["id"], *words)[1]["error"]["code"] == "UsageError"
        _, document = ask("usage", "--by", "operation")
        assert {row["operation"]: row["quantity"] for row in document["rows"]} == {"predict": 0.0, "serve": 20.0}
        _, document = ask("usage", "records", "--corrections")
        assert [record["reason"] for record in document["records"]] == ["a test ran wild", "the rest, too"]
        assert "a test ran wild" in read("usage", "records", "--project", "p")
        first = {record.id: record.quantity for record in workspace.store.usage()}[images["id"]]
        assert first == 500.0, "the record itself stays as it was"

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            pytest.param([], "UsageError", id="nothing"),
            pytest.param(["x", "--reason", "r"], "RecordNotFound", id="no such record"),
            pytest.param(["e", "--unit", "image", "--reason", "r"], "UsageError", id="both"),
            pytest.param(["e", "--quantity", "21", "--reason", "r"], "UsageError", id="more than there was"),
            pytest.param(["e", "--quantity", "-1", "--reason", "r"], "UsageError", id="negative"),
            pytest.param(["e", "--quantity", "nan", "--reason", "r"], "UsageError", id="no number"),
            pytest.param(["e"], "UsageError", id="no reason"),
            pytest.param(
                ["--project", "p", "--unit", "imagge", "--quantity", "1", "--reason", "r"], "SettingsError", id="unit"
            ),
            pytest.param(
                ["--project", "p", "--unit", "image", "--quantity", "1", "--reason", "r", "--at", "9999-12-31"],
                "UsageError",
                id="far away",
            ),
            pytest.param(
                ["--project", "p", "--unit", "image", "--quantity", "1", "--reason", "r", "--at", "2900-01-01"],
                "UsageError",
                id="to come",
            ),
            pytest.param(
                ["--project", "p", "--unit", "image", "--quantity", "1", "--reason", "r", "--at", "2020-01-05"],
                "UsageError",
                id="another month",
            ),
            pytest.param(
                ["--project", "q", "--unit", "image", "--quantity", "1", "--reason", "r"], "UsageError", id="project"
            ),
        ],
    )
    def test_wrong_corrections(self, workspace: Workspace, ask: Any, words: list[str], code: str) -> None:
        assert ask("usage", "correct", *words)[1]["error"]["code"] == code
        assert workspace.store.events() == []

    def test_correction_of_a_project(self, ask: Any) -> None:
        words = ["--project", "p", "--unit", "image", "--quantity", "200", "--reason", "goodwill"]
        assert ask("usage", "correct", *words, "--at", "2026-11-18")[1]["from"] == "2026-11-18T00:00:00Z"
        _, document = ask("usage", "--by", "project")
        assert {row["unit"]: row["quantity"] for row in document["rows"]}["image"] == 300.0
        _, document = ask("usage", "records")
        images = next(record for record in document["records"] if record["unit"] == "image" and record["quantity"] > 0)
        for quantity, code in (("301", "UsageError"), ("300", None)):
            _, made = ask("usage", "correct", images["id"], "--reason", "the rest", "--quantity", quantity)
            assert made.get("error", {}).get("code") == code, "no more than is left of the project's"

    def test_budgets(self, workspace: Workspace, ask: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        at = clock.now()
        workspace.store.create_project("b", Task.DETECTION, at=1.0)
        workspace.store.add_usage([UsageRecord("now", "image", "b", 1, "x", 17_000.0, at, at)])
        status, document = ask("budget", "set", "b", "20/month", "--stop")
        assert (status, document["spent"], document["share"], document["stop"]) == (0, 17.0, 0.85, True)
        assert [one["project"] for one in ask("budget", "list")[1]["budgets"]] == ["b"]
        ask("usage")  # with --json nobody is told
        assert cli.run(["usage"]) == 0
        assert "has cost" not in capsys.readouterr().err, "nobody reads what a timer prints"
        monkeypatch.setenv("FORCE_COLOR", "1")  # as at a terminal
        monkeypatch.setenv("TERM", "dumb")
        for told in (1, 0):
            assert cli.run(["usage"]) == 0
            assert capsys.readouterr().err.count("budget: b has cost 17.00 of its budget of 20.00 EUR") == told
        assert cli.run(["budget", "list"]) == 0
        assert "85.0%" in capsys.readouterr().out
        assert ask("budget", "set", "c", "20/month")[1]["error"]["code"] == "ProjectNotFound"
        assert ask("budget", "set", "b", "lots")[1]["error"]["code"] == "UsageError"
        (workspace.home / "prices.yaml").write_text("currency: [")
        monkeypatch.setattr(console.mode, "json", False)
        notices.tell_budgets(workspace)
        assert "budget: cannot be checked" in capsys.readouterr().err
        assert ask("budget", "remove", "b")[1] == {"removed": "b"}
        assert ask("budget", "remove", "b")[1] == {"removed": None}

    def test_mistake_in_the_prices(self, workspace: Workspace, ask: Any) -> None:
        (workspace.home / "prices.yaml").write_text("currency: EUR\nunits: {image: {price: cheap, per: 1, hosted: 1}}")
        status, document = ask("usage")
        assert (status, document["error"]["code"]) == (1, "SettingsError")
        assert "units.image.price: got 'cheap'" in document["error"]["message"]


class TestJobs:
    def test_list_shows_no_secret_and_reaps(self, workspace: Workspace, ask: Any, read: Any) -> None:
        workspace.store.create_project("p", Task.DETECTION, at=1.0)
        workspace.store.enqueue("train", "p", at=1.0)
        workspace.store.claim("elsewhere:1:1.0", kinds=["train"], at=1.0)
        _, document = ask("jobs", "list")
        (job,) = document["jobs"]
        assert job["status"] == "FAILED"
        assert "no sign of life" in job["message"]
        assert "lock_token" not in job
        assert "no sign of life" in " ".join(read("jobs", "list", "--project", "p").split())
        assert ask("jobs", "list", "--project", "q")[0] == 1

    def test_cancel(self, workspace: Workspace, ask: Any) -> None:
        workspace.store.create_project("p", Task.DETECTION, at=1.0)
        job = workspace.store.enqueue("train", "p", at=1.0)
        assert ask("jobs", "cancel", str(job.id))[1]["status"] == "CANCELLED"
        assert workspace.store.job(job.id).status is JobStatus.CANCELLED
        assert ask("jobs", "cancel", "99")[1]["error"]["code"] == "JobNotFound"


class TestDoctor:
    @pytest.fixture(autouse=True)
    def own_checks(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """Those of this room: whether base models are cached is no matter of these tests."""
        checks = {name: target for name, target in doctor.CHECKS.items() if ".projects." in target}
        monkeypatch.setattr(doctor, "CHECKS", checks)
        return checks

    def test_all_well(self, ask: Any, read: Any) -> None:
        status, document = ask("doctor")
        assert status == 0
        assert document["ok"]
        names = {check["name"] for check in document["checks"]}
        assert names >= {"python", "extra train", "extra serve", "TENSHOT_HOME", "store", "disk", "machine"}
        assert "0 failed" in read("doctor")

    def test_failure_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Any) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("TENSHOT_HOME", str(tmp_path / "file"))
        status, document = ask("doctor")
        assert (status, document["ok"]) == (1, False)
        failed = {check["name"]: check for check in document["checks"] if check["state"] == "fail"}
        assert set(failed) == {"TENSHOT_HOME", "store"}
        assert all(check["way_out"] for check in failed.values())

    def test_mistake_in_the_settings(self, workspace: Workspace, ask: Any) -> None:
        workspace.home.mkdir()
        (workspace.home / "config.yaml").write_text("jobs: {hearbeat_s: 1}")
        status, document = ask("doctor")
        assert status == 1
        assert any("jobs.hearbeat_s" in check["found"] for check in document["checks"] if check["state"] == "fail")

    @pytest.mark.parametrize(
        ("free_gib", "state"), [(0.1, "fail"), (2.0, "warn"), (50.0, "ok")], ids=["full", "nearly full", "room"]
    )
    def test_disk(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, free_gib: float, state: str) -> None:
        import shutil

        monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(0, 0, int(free_gib * 2**30)))
        assert doctor.disk(workspace).state == state

    def test_check_that_cannot_run_is_a_finding(self, workspace: Workspace, own_checks: dict[str, str]) -> None:
        own_checks["gone"] = "tenshot.projects.nowhere:check"
        found = {finding.name: finding for finding in doctor.examine(workspace)}
        assert found["gone"].state == "fail"

    def test_error_of_a_check_keeps_its_hint(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        def failing(_workspace: Workspace) -> Finding:
            raise TenshotError("no weights", hint="tenshot models pull")

        monkeypatch.setattr(doctor, "python", failing)
        found = next(finding for finding in doctor.examine(workspace) if finding.name == "python")
        assert (found.state, found.found, found.way_out) == ("fail", "no weights", "tenshot models pull")
