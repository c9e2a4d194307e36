"""Every row of the catalogue of pretrained weights, and fetching through the real pip from a folder of wheels."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tenshot.automl.backbones import BACKBONES
from tenshot.automl.base import catalogue, fetch, listing
from tenshot.automl.base.catalogue import BaseModelRow
from tenshot.projects import cli
from tenshot.projects.errors import UnknownNameError, WeightsError
from tenshot.projects.workspace import Workspace

ROWS = list(catalogue.catalogue())
MEMBER = "tiny_weights/model.bin"
CONTENT = b"weights" * 100


@pytest.fixture(scope="module")
def documents() -> dict[str, Any]:
    return yaml.safe_load((files("tenshot.configs") / "base_models.yaml").read_text("utf-8"))


@pytest.mark.parametrize("name", ROWS)
class TestRow:
    def test_strict(self, name: str, documents: dict[str, Any]) -> None:
        row = {"name": name, **documents[name]}
        assert BaseModelRow.model_validate(row) == catalogue.row(name)
        with pytest.raises(ValidationError, match="lisence"):
            BaseModelRow.model_validate({**row, "lisence": "MIT"})
        with pytest.raises(ValidationError, match="mirror"):
            BaseModelRow.model_validate({**row, "source": {**row["source"], "mirror": "x"}})
        for key in ("licence", "sha256", "source", "role"):
            with pytest.raises(ValidationError, match=key):
                BaseModelRow.model_validate({k: v for k, v in row.items() if k != key})

    def test_licence_is_spdx(self, name: str) -> None:
        assert re.fullmatch(r"[A-Za-z]+[A-Za-z0-9.]*(-[A-Za-z0-9.]+)+|MIT", catalogue.row(name).licence)

    def test_pinned(self, name: str) -> None:
        assert re.fullmatch(r"\d+(\.\w+)*", catalogue.row(name).source.version)

    def test_cached_bytes_match(self, name: str, workspace: Workspace) -> None:
        fetch.ensure(workspace, name)
        assert fetch.verify(workspace, catalogue.row(name)) == "ok"


def test_every_backbone_has_weights() -> None:
    assert {name for name in ROWS if catalogue.row(name).role == "backbone"} == set(BACKBONES)


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="mobilenet_v3") as caught:
        catalogue.row("mobilenet_v3")
    assert "mobilenet_v2" in caught.value.hint
    with pytest.raises(UnknownNameError):
        catalogue.select(["backbones"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param([], set(ROWS), id="all"),
        pytest.param(["backbone"], set(BACKBONES), id="role"),
        pytest.param(["mobilenet_v2", "detector"], {"mobilenet_v2", "nudenet_yolov8n"}, id="name and role"),
    ],
)
def test_select(names: list[str], expected: set[str]) -> None:
    assert {row.name for row in catalogue.select(names)} == expected


def row(**changes: Any) -> BaseModelRow:
    document = {
        "name": "tiny",
        "role": "backbone",
        "title": "Tiny",
        "source": {"kind": "pip", "package": "tiny-weights", "version": "1.0", "member": MEMBER},
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "licence": "MIT",
        "input": "any",
        "measured": None,
    }
    source = document["source"] | {k: v for k, v in changes.items() if k in document["source"]}
    rest = {k: v for k, v in changes.items() if k not in document["source"]}
    return BaseModelRow.model_validate(document | {"source": source} | rest)


class TestFetch:
    """pip runs for real, on a folder with one wheel."""

    @pytest.fixture(autouse=True)
    def shelf(self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        folder = tmp_path / "wheels"
        folder.mkdir()
        info = "tiny_weights-1.0.dist-info"
        with zipfile.ZipFile(folder / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr(MEMBER, CONTENT)
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("TENSHOT_CACHE__DIR", str(tmp_path / "cache"))
        return folder

    def test_fetches_once(self, workspace: Workspace, shelf: Path) -> None:
        path = fetch.pull(workspace, row())
        assert path.read_bytes() == CONTENT
        assert fetch.verify(workspace, row()) == "ok"
        for wheel in shelf.iterdir():
            wheel.unlink()
        assert fetch.pull(workspace, row()) == path
        assert [p.name for p in fetch.models_dir(workspace).iterdir()] == [path.name]

    @pytest.mark.parametrize(
        ("changes", "message", "hint"),
        [
            pytest.param({"sha256": "0" * 64}, "sha256 is [0-9a-f]{64}, expected 0{64}", "nothing was kept", id="hash"),
            pytest.param({"member": "tiny_weights/gone.bin"}, "holds no tiny_weights/gone", "update", id="member"),
            pytest.param(
                {"version": "2.0"}, "pip cannot download tiny-weights==2.0: ERROR", "pip config", id="version"
            ),
            pytest.param({"package": "no-such-package"}, "cannot download no-such-package", "pip config", id="package"),
        ],
    )
    def test_refusals_leave_the_cache_alone(
        self, workspace: Workspace, changes: dict[str, Any], message: str, hint: str
    ) -> None:
        kept = fetch.pull(workspace, row())
        with pytest.raises(WeightsError, match=message) as caught:
            fetch.pull(workspace, row(name="other", **({"sha256": "1" * 64} | changes)))
        assert hint in caught.value.hint
        assert [p for p in (workspace.cache).rglob("*") if p.is_file()] == [kept]
        assert kept.read_bytes() == CONTENT

    def test_damaged_wheel(self, workspace: Workspace, shelf: Path) -> None:
        (wheel,) = shelf.iterdir()
        wheel.write_bytes(wheel.read_bytes()[:200])
        with pytest.raises(WeightsError):
            fetch.pull(workspace, row())
        assert not fetch.models_dir(workspace).exists()

    def test_verify_sees_damage(self, workspace: Workspace) -> None:
        path = fetch.pull(workspace, row())
        path.write_bytes(CONTENT[:-1] + b"?")
        assert fetch.verify(workspace, row()) == "damaged"
        path.unlink()
        assert fetch.verify(workspace, row()) == "missing"

    def test_listing_of_an_empty_cache(self, workspace: Workspace) -> None:
        assert {r["state"] for r in listing.rows(workspace)} == {"missing"}
        assert {r["state"] for r in listing.verify(workspace)} == {"missing"}


class TestVerbs:
    """`tenshot models list`, `pull` and `verify` through the front door."""

    @pytest.fixture
    def ask(self, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Any:
        def run(*argv: str) -> tuple[int, Any]:
            status = cli.run(["models", *argv, "--json"])
            return status, json.loads(capsys.readouterr().out)

        return run

    def test_list(self, ask: Any) -> None:
        status, found = ask("list")
        assert status == 0
        assert [row["name"] for row in found["models"]] == ROWS
        assert all(row["licence"] and row["source"].startswith("pip ") for row in found["models"])

    def test_pull_what_is_there(self, ask: Any) -> None:
        for name in ROWS:
            assert ask("pull", name)[1]["models"][0]["state"] == "cached"

    def test_pull_unknown(self, ask: Any) -> None:
        status, found = ask("pull", "backbones")
        assert (status, found["error"]["code"]) == (2, "UnknownNameError")

    def test_verify_of_an_empty_cache_fails(self, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TENSHOT_CACHE__DIR", str(tmp_path / "empty"))
        status, found = ask("verify")
        assert status == 1
        assert {row["state"] for row in found["models"]} == {"missing"}
