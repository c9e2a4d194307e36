"""app.py, as docker, k8s and bento exports carry it: its answers and refusals over (in-process) HTTP."""

from __future__ import annotations

import asyncio
import base64
import importlib
import sys

import httpx
import pytest
from fixtures_exports import BUNDLES
from fixtures_serving import picture

from tenshot.automl.bundle import read_manifest
from tenshot.serving.exporting import carrying

RED, BLUE = picture((255, 0, 0)), picture((0, 0, 255))
TEXT = base64.b64encode(RED).decode()


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The module, imported as in a container: from the folder in which it lies."""
    home = tmp_path_factory.mktemp("app")
    BUNDLES["classifier-novelty"](home / "bundle")
    carrying.carry(home / "bundle", read_manifest(home / "bundle"), home / "app", "openvino")
    carrying.put("app.py", home / "app")
    sys.path.insert(0, str(home / "app"))
    try:
        yield importlib.import_module("app")
    finally:
        sys.path.remove(str(home / "app"))
        for name in ("app", "predict"):
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def service(app, tmp_path_factory):
    from pathlib import Path

    found = app.Service(Path(app.__file__).parent)
    found.load()
    return found


def ask(service, method="POST", path="/predict", **how):
    async def send():
        transport = httpx.ASGITransport(service.app())
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return await client.request(method, path, **how)

    return asyncio.run(send())


IMAGE = {"Content-Type": "image/png"}
GOOD = [
    pytest.param({"content": RED, "headers": IMAGE}, ["red"], id="image"),
    pytest.param({"json": {"image": TEXT}}, ["red"], id="json"),
    pytest.param({"json": {"images": [TEXT, base64.b64encode(BLUE).decode()]}}, ["red", "blue"], id="json, two"),
    pytest.param({"files": [("a", RED), ("b", BLUE)]}, ["red", "blue"], id="form"),
]


@pytest.mark.parametrize(("how", "expected"), GOOD)
def test_answers(service, how, expected):
    answer = ask(service, **how)
    assert answer.status_code == 200, answer.text
    assert [image["labels"][0]["name"] for image in answer.json()["images"]] == expected
    assert answer.json()["model"] == "colours@1"
    assert answer.json()["images"][0]["novelty"] == 0.0


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"content": RED, "headers": IMAGE, "params": {"min_confidence": "0"}}, id="query"),
        pytest.param({"json": {"image": TEXT, "min_confidence": 0}}, id="document"),
        pytest.param({"files": {"a": RED}, "data": {"min_confidence": "0"}}, id="form"),
    ],
)
def test_options(service, how):
    assert len(ask(service, **how).json()["images"][0]["labels"]) == 3


def test_max_results(service):
    how = {"content": RED, "headers": IMAGE, "params": {"min_confidence": "0", "max_results": "2"}}
    assert len(ask(service, **how).json()["images"][0]["labels"]) == 2


BAD = [
    pytest.param({"content": b"", "headers": IMAGE}, 400, "ImageError", id="empty"),
    pytest.param({"content": RED[:60], "headers": IMAGE}, 400, "ImageError", id="cut"),
    pytest.param(
        {"content": b"hello", "headers": {"Content-Type": "text/plain"}}, 415, "UnsupportedMediaType", id="text"
    ),
    pytest.param({"content": b"{", "headers": {"Content-Type": "application/json"}}, 400, "InvalidJson", id="json"),
    pytest.param({"json": {"image": "?"}}, 400, "InvalidJson", id="base64"),
    pytest.param({"json": {"images": []}}, 400, "NoImage", id="none"),
    pytest.param({"json": [1]}, 400, "InvalidJson", id="a list"),
    pytest.param({"json": {"images": [TEXT] * 65}}, 400, "NoImage", id="too many"),
    pytest.param({"json": {"image": TEXT, "min_confidence": "nan"}}, 400, "InvalidParameter", id="option"),
    pytest.param({"json": {"image": TEXT, "max_results": -1}}, 400, "InvalidParameter", id="negative"),
    pytest.param({"content": b"x" * (17 << 20), "headers": IMAGE}, 413, "BodyTooLarge", id="large"),
    pytest.param(
        {"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400, None, id="form"
    ),
]


@pytest.mark.parametrize(("how", "status", "code"), BAD)
def test_refusals(service, how, status, code):
    answer = ask(service, **how)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == code or code is None


def test_a_bad_image_among_good_ones(service):
    images = ask(service, files=[("a", RED), ("b", b"nothing")]).json()["images"]
    assert images[0]["labels"][0]["name"] == "red"
    assert images[1]["error"]["code"] == "ImageError"


def test_more_than_it_can_hold(service, app, monkeypatch):
    monkeypatch.setattr(app, "MAX_IN_FLIGHT", 0)
    answer = ask(service, content=RED, headers=IMAGE)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"


@pytest.mark.parametrize("path", ["/readyz", "/livez", "/healthz", "/"])
def test_probes(service, path):
    assert ask(service, "GET", path).status_code == 200


def test_not_ready_before_it_is_loaded(app, service):
    assert ask(app.Service(service.folder), "GET", "/readyz").status_code == 503
