"""`--base`: names, licences, and fetching published weights from a hub on this machine."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures_http import Reply, Site

from tenshot.automl.base import adopted, fetch
from tenshot.automl.libraries import LIBRARIES
from tenshot.automl.libraries.timm import licence
from tenshot.projects import cli
from tenshot.projects.errors import UnknownNameError, UsageError, WeightsError
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace

COMMIT = "ab" * 20
HUB_FILE = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
OTHER_HUB_FILE = HUB_FILE.replace("model.safetensors", "pytorch_model.bin")


@pytest.fixture(scope="module")
def resnet() -> bytes:
    """timm's tiny network as its hub would serve it, with random weights."""
    import timm
    from safetensors.torch import save

    torch.manual_seed(0)
    return save(timm.create_model("test_resnet", pretrained=False).state_dict())


@pytest.fixture
def hub(web: Site, monkeypatch: pytest.MonkeyPatch, resnet: bytes) -> Site:
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    web.replies[HUB_FILE] = Reply(resnet, headers={"X-Repo-Commit": COMMIT})
    return web


def nothing_kept(workspace: Workspace) -> bool:
    return not [path for path in workspace.cache.rglob("*") if path.is_file()]


class TestTimm:
    @pytest.mark.parametrize(
        "text", ["test_resnet", "timm:test_resnet", "test_resnet.r160_in1k", "timm:test_resnet.r160_in1k"]
    )
    def test_adopted(self, workspace: Workspace, hub: Site, resnet: bytes, text: str) -> None:
        told: list[str] = []
        row = adopted.adopt(workspace, text, Task.CLASSIFICATION, told.append)
        assert row.name == "timm:test_resnet.r160_in1k"
        assert row.sha256 == hashlib.sha256(resnet).hexdigest()
        assert row.licence == "Apache-2.0"
        assert row.source.text == f"hub timm/test_resnet.r160_in1k@{COMMIT}: model.safetensors"
        assert adopted.row(workspace, row.name) == row
        assert told == ["fetching timm:test_resnet.r160_in1k, licence Apache-2.0"]
        assert hub.paths == [HUB_FILE]

    def test_only_once_and_then_without_the_hub(self, workspace: Workspace, hub: Site) -> None:
        row = adopted.adopt(workspace, "test_resnet", Task.MULTILABEL)
        hub.replies.clear()
        assert adopted.adopt(workspace, "timm:test_resnet", Task.CLASSIFICATION) == row
        assert adopted.ensure(workspace, row.name).is_file()
        assert len(hub.asked) == 1

    def test_a_lost_file_is_fetched_again_and_must_be_the_same(self, workspace: Workspace, hub: Site) -> None:
        row = adopted.adopt(workspace, "test_resnet", Task.CLASSIFICATION)
        (fetch.models_dir(workspace) / row.file_name).unlink()
        pinned = HUB_FILE.replace("/main/", f"/{COMMIT}/")
        hub.replies[pinned] = Reply(b"something else")
        with pytest.raises(WeightsError, match="sha256 is"):
            adopted.ensure(workspace, row.name)
        hub.replies[pinned] = hub.replies[HUB_FILE]
        assert adopted.ensure(workspace, row.name).is_file()

    def test_second_file_name(self, workspace: Workspace, hub: Site) -> None:
        import timm

        stream = io.BytesIO()
        torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), stream)
        hub.replies = {OTHER_HUB_FILE: Reply(stream.getvalue())}
        assert adopted.adopt(workspace, "test_resnet", Task.CLASSIFICATION).source.file_name == "pytorch_model.bin"

    @pytest.mark.parametrize(
        ("replies", "message"),
        [
            pytest.param({}, "answers 404 Not Found; .*pytorch_model.bin answers 404", id="nothing there"),
            pytest.param({HUB_FILE: Reply(b"<html>"), OTHER_HUB_FILE: Reply()}, "does not hold timm's", id="a page"),
            pytest.param({HUB_FILE: Reply(b"x" * 9, announced=10)}, "broke off after 9 of 10 bytes", id="cut off"),
            pytest.param(
                {HUB_FILE: Reply(b"x", headers={"X-Linked-Etag": "0" * 64})}, "expected 0{64}", id="not what it says"
            ),
        ],
    )
    def test_wrong_downloads_leave_nothing(
        self, workspace: Workspace, hub: Site, replies: dict[str, Reply], message: str
    ) -> None:
        hub.replies = replies
        with pytest.raises(WeightsError, match=message) as caught:
            adopted.adopt(workspace, "test_resnet", Task.CLASSIFICATION)
        assert caught.value.hint
        assert nothing_kept(workspace)

    def test_weights_of_another_network(self, workspace: Workspace, hub: Site) -> None:
        from safetensors.torch import save

        hub.replies[HUB_FILE] = Reply(save({"a": torch.zeros(3)}))
        with pytest.raises(WeightsError, match=r"model\.safetensors does not hold timm's test_resnet\.r160_in1k"):
            adopted.adopt(workspace, "test_resnet", Task.CLASSIFICATION)
        assert nothing_kept(workspace)

    def test_hub_down(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(
            WeightsError, match=r"cannot be fetched: http://127\.0\.0\.1:9.*model\.safetensors"
        ) as caught:
            adopted.adopt(workspace, "test_resnet", Task.CLASSIFICATION)
        for way_out in ("models.hub_url", "HF_ENDPOINT", "--base NAME=PATH"):
            assert way_out in caught.value.hint
        assert nothing_kept(workspace)

    def test_out_of_a_file(self, workspace: Workspace, resnet: bytes, tmp_path: Path) -> None:
        own = tmp_path / "mine.safetensors"
        own.write_bytes(resnet)
        row = adopted.adopt(workspace, f"test_resnet={own}", Task.CLASSIFICATION)
        assert (row.name, row.source.text) == ("timm:test_resnet.r160_in1k", "file mine.safetensors")
        own.unlink()
        assert adopted.ensure(workspace, row.name).read_bytes() == resnet

    def test_without_published_weights(self, workspace: Workspace) -> None:
        with pytest.raises(WeightsError, match="timm publishes no weights for test_maxvit"):
            adopted.adopt(workspace, "test_maxvit", Task.CLASSIFICATION)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param("apache-2.0", "Apache-2.0", id="known"),
            pytest.param("cc-by-nc-4.0", "CC-BY-NC-4.0", id="non-commercial"),
            pytest.param("dinov3-license", "LicenseRef-dinov3-license", id="its own"),
            pytest.param(None, "NOASSERTION", id="none"),
            pytest.param("unknown", "NOASSERTION", id="unknown"),
        ],
    )
    def test_licence(self, text: str | None, expected: str) -> None:
        assert licence(text) == expected


class TestTorchvision:
    def test_beginning_of_the_hash_is_checked(
        self, workspace: Workspace, web: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TENSHOT_MODELS__ASSETS_URL", web.url)
        web.replies["/squeezenet1_1-b8a52dc0.pth"] = Reply(b"other weights")
        with pytest.raises(WeightsError, match=r"sha256 is [0-9a-f]{64}, expected b8a52dc0"):
            adopted.adopt(workspace, "torchvision:squeezenet1_1", Task.CLASSIFICATION)
        assert web.paths == ["/squeezenet1_1-b8a52dc0.pth"]
        assert nothing_kept(workspace)

    @pytest.mark.parametrize("as_url", [True, False], ids=["address", "folder"])
    def test_mirror(
        self, workspace: Workspace, web: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_url: bool
    ) -> None:
        """Random weights under the hash that they have; the rest is as it is published."""
        from torchvision.models import squeezenet1_1

        stream = io.BytesIO()
        torch.save(squeezenet1_1(weights=None).state_dict(), stream)
        own = hashlib.sha256(stream.getvalue()).hexdigest()[:8]
        published = f"squeezenet1_1-{own}.pth"
        from torchvision.models import SqueezeNet1_1_Weights as Weights

        monkeypatch.setattr(Weights.DEFAULT.value, "url", f"https://nowhere.invalid/models/{published}")
        web.replies[f"/{published}"] = Reply(stream.getvalue())
        (tmp_path / published).write_bytes(stream.getvalue())
        monkeypatch.setenv("TENSHOT_MODELS__ASSETS_URL", f"{web.url}/" if as_url else str(tmp_path))
        row = adopted.adopt(workspace, "squeezenet1_1.IMAGENET1K_V1", Task.CLASSIFICATION)
        assert row.name == "torchvision:squeezenet1_1.IMAGENET1K_V1"
        assert row.licence == "BSD-3-Clause"
        assert row.sha256.startswith(own)
        assert row.source.kind == ("url" if as_url else "file")

    def test_licence_of_swag(self, workspace: Workspace) -> None:
        offer = LIBRARIES.get("torchvision").offer("vit_b_16.IMAGENET1K_SWAG_E2E_V1", workspace.settings.models)
        assert offer.licence == "CC-BY-NC-4.0"


class TestNames:
    @pytest.mark.parametrize(
        ("text", "task", "near"),
        [
            pytest.param("resnet18d_", Task.CLASSIFICATION, "resnet18d", id="timm"),
            pytest.param("timm:resnet81", Task.CLASSIFICATION, "resnet18", id="of a library"),
            pytest.param("mobilenet_v22", Task.CLASSIFICATION, "mobilenet_v2", id="catalogue"),
            pytest.param("yolo11", Task.DETECTION, "yolo11", id="ultralytics"),
            pytest.param("yolo11n-seg", Task.DETECTION, "yolo11n", id="another task of ultralytics"),
            pytest.param("tim:resnet18", Task.CLASSIFICATION, "timm", id="library"),
        ],
    )
    def test_typos(self, workspace: Workspace, text: str, task: Task, near: str) -> None:
        with pytest.raises(UnknownNameError) as caught:
            adopted.adopt(workspace, text, task)
        assert near in caught.value.hint
        assert len(caught.value.message) < 600

    @pytest.mark.parametrize(
        ("text", "task", "message"),
        [
            pytest.param("nudenet_yolov8n", Task.CLASSIFICATION, "is a detector; a CLASSIFICATION", id="catalogue"),
            pytest.param("ultralytics:yolo11n", Task.MULTILABEL, "is a detector", id="detector"),
            pytest.param("timm:resnet18", Task.DETECTION, "is a backbone", id="backbone"),
        ],
    )
    def test_of_another_task(self, workspace: Workspace, text: str, task: Task, message: str) -> None:
        with pytest.raises(UsageError, match=message.replace("CLASSIFICATION", str(Task.CLASSIFICATION))):
            adopted.adopt(workspace, text, task)

    def test_a_row_of_the_catalogue(
        self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("TENSHOT_CACHE__DIR")
        assert adopted.adopt(Workspace.current(), "mobilenet_v2", Task.CLASSIFICATION).name == "mobilenet_v2"

    def test_adopted_elsewhere(self, workspace: Workspace) -> None:
        with pytest.raises(WeightsError, match="are not here") as caught:
            adopted.row(workspace, "timm:resnet18.a1_in1k")
        assert "tenshot models pull timm:resnet18.a1_in1k" in caught.value.hint

    @pytest.mark.parametrize(
        ("licence", "warned"), [("CC-BY-NC-4.0", True), ("NOASSERTION", True), ("Apache-2.0", False)]
    )
    def test_warning(self, workspace: Workspace, hub: Site, licence: str, warned: bool) -> None:
        row = adopted.adopt(workspace, "test_resnet", Task.CLASSIFICATION).model_copy(update={"licence": licence})
        assert bool(adopted.warning(row)) == warned


class TestVerbs:
    @pytest.fixture
    def ask(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Any]]:
        def run(*argv: str) -> tuple[int, Any]:
            status = cli.run([*argv, "--json"])
            return status, json.loads(capsys.readouterr().out)

        return run

    def test_pull_list_verify(self, workspace: Workspace, hub: Site, ask: Callable[..., tuple[int, Any]]) -> None:
        status, pulled = ask("models", "pull", "timm:test_resnet")
        assert status == 0, pulled
        (row,) = pulled["models"]
        assert row["source"] == "hub timm/test_resnet.r160_in1k"
        listed = ask("models", "list")[1]["models"]
        assert row in listed
        states = {r["name"]: r["state"] for r in ask("models", "verify")[1]["models"]}
        assert states["timm:test_resnet.r160_in1k"] == "ok"
