"""Every kind of source: the real clients and a real web server on this machine, which serves what tests made."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixtures_http import Reply, Site

from tenshot.automl.base import fetch
from tenshot.automl.base.catalogue import BaseModelRow
from tenshot.automl.base.sources import SOURCES
from tenshot.projects.errors import SettingsError, WeightsError
from tenshot.projects.workspace import Workspace

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def row(sha256: str = SHA256, **source: Any) -> BaseModelRow:
    return BaseModelRow.model_validate({
        "name": "tiny", "role": "backbone", "title": "Tiny", "source": source, "sha256": sha256, "licence": "MIT",
        "input": "any", "measured": None,
    })  # fmt: skip


def refused(workspace: Workspace, model: BaseModelRow, message: str) -> WeightsError:
    """The error, after which the cache is as it was: empty."""
    with pytest.raises(WeightsError, match=message) as caught:
        fetch.pull(workspace, model)
    assert not [path for path in workspace.cache.rglob("*") if path.is_file()]
    assert caught.value.hint
    return caught.value


def test_every_kind_of_the_catalogue_has_a_source() -> None:
    kinds = {kind["const"] for name, kind in _properties() if name == "kind"}
    assert kinds == set(SOURCES)


def _properties() -> list[tuple[str, dict[str, Any]]]:
    definitions = BaseModelRow.model_json_schema()["$defs"].values()
    return [item for one in definitions for item in one.get("properties", {}).items()]


class TestUrl:
    def test_through_redirects(self, workspace: Workspace, web: Site) -> None:
        web.replies["/old/tiny.pth"] = Reply(status=302, headers={"Location": "/new/tiny.pth?signature=1"})
        web.replies["/new/tiny.pth"] = Reply(CONTENT)
        path = fetch.pull(workspace, row(kind="url", url=f"{web.url}/old/tiny.pth"))
        assert path.read_bytes() == CONTENT
        assert path.name == f"{SHA256[:12]}-tiny.pth"
        assert fetch.pull(workspace, row(kind="url", url=f"{web.url}/old/tiny.pth")) == path
        assert len(web.asked) == 2, "the second time it is in the cache"

    @pytest.mark.parametrize(
        ("reply", "message", "hint"),
        [
            pytest.param(Reply(CONTENT[:-1]), "sha256 is [0-9a-f]{64}, expected", "nothing was kept", id="wrong sha"),
            pytest.param(Reply(b"", 404), "/tiny.pth answers 404 Not Found", "check the name", id="404"),
            pytest.param(Reply(b"", 403), "answers 403 Forbidden", "HF_TOKEN", id="403"),
            pytest.param(Reply(b"", 500), "answers 500", "models.assets_url", id="500"),
            pytest.param(
                Reply(CONTENT, announced=len(CONTENT) + 1), f"broke off after {len(CONTENT)} of", "again", id="cut off"
            ),
            pytest.param(Reply(CONTENT * 3), "at most 10000 are allowed", "models.max_bytes", id="too large"),
            pytest.param(
                Reply(status=302, headers={"Location": "/tiny.pth"}), "answers 302", "mirror", id="circle of redirects"
            ),
            pytest.param(
                Reply(status=302, headers={"Location": "file:///etc/passwd"}), "answers 302", "mirror", id="to a file"
            ),
        ],
    )
    def test_refusals(
        self, workspace: Workspace, web: Site, reply: Reply, message: str, hint: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TENSHOT_MODELS__MAX_BYTES", "10000")
        web.replies["/tiny.pth"] = reply
        error = refused(workspace, row(kind="url", url=f"{web.url}/tiny.pth"), message)
        assert hint in error.hint

    def test_nobody_listens(self, workspace: Workspace, web: Site) -> None:
        error = refused(
            workspace, row(kind="url", url="http://127.0.0.1:9/tiny.pth"), "127.0.0.1:9/tiny.pth cannot be reached"
        )
        assert error.fields["status"] is None
        assert "--base NAME=PATH" in error.hint

    def test_secrets_stay_out_of_messages(self, workspace: Workspace, web: Site) -> None:
        url = web.url.replace("//", "//somebody:secret1@") + "/gone.pth?token=secret2"
        error = refused(workspace, row(kind="url", url=url), r"/gone\.pth answers 404")
        assert web.asked[0][1]["authorization"] == "Basic " + base64.b64encode(b"somebody:secret1").decode()
        assert "secret" not in f"{error.message} {error.hint} {row(kind='url', url=url).source.text}"


class TestHub:
    PATH = "/some/repo/resolve/main/model.safetensors"
    COMMIT = "0123456789" * 4

    @pytest.fixture(params=["environment", "setting"])
    def hub(self, request: pytest.FixtureRequest, web: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
        if request.param == "setting":
            monkeypatch.setenv("TENSHOT_MODELS__HUB_URL", f"{web.url}/")
            monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        else:
            monkeypatch.setenv("HF_ENDPOINT", web.url)
        return web

    def test_fetched(self, workspace: Workspace, hub: Site, tmp_path: Path) -> None:
        told = {"X-Repo-Commit": self.COMMIT, "X-Linked-Etag": f'"{SHA256}"', "Location": "/cdn/1"}
        hub.replies[self.PATH] = Reply(status=302, headers=told)
        hub.replies["/cdn/1"] = Reply(CONTENT)
        model = row(kind="hub", repository="some/repo", file="model.safetensors")
        assert fetch.pull(workspace, model).read_bytes() == CONTENT
        found = SOURCES.get("hub")(model.source, tmp_path, workspace.settings.models)
        assert (found.revision, found.sha256) == (self.COMMIT, SHA256)

    def test_revision_and_folders(self, workspace: Workspace, hub: Site) -> None:
        hub.replies["/some/repo/resolve/refs%2Fpr%2F1/onnx/a%20b.onnx"] = Reply(CONTENT)
        fetch.pull(workspace, row(kind="hub", repository="some/repo", revision="refs/pr/1", file="onnx/a b.onnx"))

    def test_absent(self, workspace: Workspace, hub: Site) -> None:
        error = refused(workspace, row(kind="hub", repository="some/repo", file="model.bin"), "answers 404")
        assert "check the name" in error.hint

    def test_down(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        error = refused(workspace, row(kind="hub", repository="some/repo", file="model.bin"), "cannot be reached")
        for way_out in ("models.hub_url", "HF_ENDPOINT", "--base NAME=PATH"):
            assert way_out in error.hint

    def test_no_token_in_the_open(self, workspace: Workspace, hub: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """The local hub speaks plain http, so it must not see the token."""
        monkeypatch.setenv("HF_TOKEN", "secret")
        error = refused(workspace, row(kind="hub", repository="some/repo", file="model.bin"), "404")
        assert "secret" not in error.message + error.hint
        assert all("authorization" not in headers for _, headers in hub.asked)

    def test_a_hub_url_must_be_one(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TENSHOT_MODELS__HUB_URL", "somewhere")
        with pytest.raises(SettingsError, match=r"models\.hub_url"):
            _ = workspace.settings


class TestFile:
    def test_copied(self, workspace: Workspace, tmp_path: Path) -> None:
        own = tmp_path / "mine.pth"
        own.write_bytes(CONTENT)
        kept = fetch.pull(workspace, row(kind="file", path=str(own)))
        assert own.read_bytes() == CONTENT
        own.unlink()
        assert kept.read_bytes() == CONTENT

    def test_refusals(self, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = tmp_path / "mine.pth"
        refused(workspace, row(kind="file", path=str(own)), r"there is no file .*mine\.pth")
        own.write_bytes(b"other")
        refused(workspace, row(kind="file", path=str(own)), "file mine.pth: sha256 is")
        monkeypatch.setenv("TENSHOT_MODELS__MAX_BYTES", "4")
        refused(Workspace.current(), row(kind="file", path=str(own)), "has 5 bytes; at most 4")


Publish = Callable[..., None]


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm client here")
class TestNpm:
    @pytest.fixture
    def publish(self, web: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
        """Puts a package onto the registry that npm is configured to use."""
        monkeypatch.setenv("npm_config_registry", f"{web.url}/")
        monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm"))
        monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "npmrc"))
        monkeypatch.setenv("npm_config_fetch_retries", "0")

        def put(members: dict[str, bytes], *, integrity: str = "", name: str = "@some/tiny-weights") -> None:
            tarball = packed({"package.json": json.dumps({"name": name, "version": "1.0.0"}).encode(), **members})
            digest = integrity or "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
            dist = {"tarball": f"{web.url}/tiny.tgz", "integrity": digest}
            versions = {"1.0.0": {"name": name, "version": "1.0.0", "dist": dist}}
            document = {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": versions}
            json_headers = {"Content-Type": "application/json"}
            web.replies["/" + name.replace("/", "%2f")] = Reply(json.dumps(document).encode(), headers=json_headers)
            web.replies["/tiny.tgz"] = Reply(tarball)

        return put

    @staticmethod
    def source(**changes: str) -> dict[str, str]:
        return {"kind": "npm", "package": "@some/tiny-weights", "version": "1.0.0", "member": "models/a.bin"} | changes

    def test_fetched(self, workspace: Workspace, publish: Publish) -> None:
        publish({"models/a.bin": CONTENT, "models/b.bin": b"other"})
        path = fetch.pull(workspace, row(**self.source()))
        assert path.read_bytes() == CONTENT
        assert path.name == f"{SHA256[:12]}-a.bin"
        assert row(**self.source()).source.text == "npm @some/tiny-weights 1.0.0: models/a.bin"

    def test_scripts_do_not_run(self, workspace: Workspace, publish: Publish, tmp_path: Path) -> None:
        trap = f"touch {tmp_path / 'ran'}"
        package = {"name": "@some/tiny-weights", "version": "1.0.0", "scripts": {"prepack": trap, "install": trap}}
        publish({"models/a.bin": CONTENT, "package.json": json.dumps(package).encode()})
        fetch.pull(workspace, row(**self.source()))
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("changes", "message", "hint"),
        [
            pytest.param({"member": "models/gone.bin"}, "holds no models/gone.bin", "update", id="member"),
            pytest.param({"version": "2.0.0"}, "npm cannot download @some/tiny-weights@2.0.0: npm error", "npm config",
                         id="version"),
            pytest.param({"package": "nobody"}, "npm cannot download nobody@1.0.0: npm error", "npm config",
                         id="package"),
        ],
    )  # fmt: skip
    def test_refusals(
        self, workspace: Workspace, publish: Publish, changes: dict[str, str], message: str, hint: str
    ) -> None:
        publish({"models/a.bin": CONTENT})
        assert hint in refused(workspace, row(**self.source(**changes)), message).hint

    def test_wrong_bytes(self, workspace: Workspace, publish: Publish) -> None:
        publish({"models/a.bin": CONTENT[:-1]})
        refused(workspace, row(**self.source()), "sha256 is")
        publish({"models/a.bin": CONTENT}, integrity="sha512-" + base64.b64encode(bytes(64)).decode())
        refused(workspace, row(**self.source()), "npm cannot download")

    def test_a_link_is_no_member(self, workspace: Workspace, publish: Publish, web: Site) -> None:
        publish({})
        from tenshot.automl.base.sources import npm

        tarball = workspace.home / "tiny.tgz"
        tarball.parent.mkdir(parents=True)
        with tarfile.open(tarball, "w:gz") as archive:
            link = tarfile.TarInfo("package/models/a.bin")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
        with pytest.raises(WeightsError, match="holds no"):
            npm.extract(tarball, "models/a.bin", workspace.home)

    def test_without_npm(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        error = refused(workspace, row(**self.source()), "there is no npm client here")
        assert "install npm" in error.hint


def packed(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()
