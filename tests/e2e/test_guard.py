"""Real endpoints that ask for keys and speak TLS."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import httpx
import pytest
from fixtures_serving import picture, trained
from fixtures_tls import certificate

from tenshot.projects import keys
from tenshot.projects.errors import AccessError, CertificateError
from tenshot.projects.keys import Role
from tenshot.projects.metering import journal
from tenshot.projects.workspace import Workspace
from tenshot.serving import predicting
from tenshot.serving.endpoints import control, keyring, tls
from tenshot.serving.endpoints.access import Access
from tenshot.serving.endpoints.layout import EndpointFiles

pytestmark = pytest.mark.slow


def until(condition, what, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.delenv("TENSHOT_SERVING__INSECURE_NO_AUTH", raising=False)
    home = tmp_path / "home"
    home.mkdir()
    serving = {"beat_s": 0.5, "stop_grace_s": 5.0, "header_timeout_s": 1.0}
    (home / "config.yaml").write_text(json.dumps({"serving": serving}), "utf-8")
    workspace = Workspace(home)
    trained(workspace)
    yield workspace
    control.stop(workspace, "colours@1")
    workspace.store.close()


def post(client, **more):
    return client.post("/predict", content=picture(), headers={"Content-Type": "image/png"}, **more)


def test_keys_and_tls(own, tmp_path):
    cert, key_file = certificate(tmp_path / "tls")
    other, other_key = certificate(tmp_path / "tls", "other")
    with pytest.raises(AccessError, match="nobody could call colours@1"):
        control.start(own, "colours@1")
    with pytest.raises(CertificateError, match="is not the private key of"):
        control.start(own, "colours@1", access=Access.of(own, tls_cert=cert, tls_key=other_key))
    assert own.store.endpoints() == [], "nothing was started"

    app, secret = keys.create(own, Role.APP, at=time.time(), projects=["colours"])
    reader, reader_secret = keys.create(own, Role.READER, at=time.time())
    access = Access.of(own, tls_cert=cert, tls_key=key_file)
    endpoint = control.start(own, "colours@1", access=access).endpoint
    assert (endpoint.secured, endpoint.tls) == (True, True)
    assert endpoint.url.startswith("https://")

    with httpx.Client(base_url=endpoint.url, verify=tls.trusting(tls.leaf(cert)), timeout=30) as client:
        assert client.get("/readyz").status_code == 200
        nobody = post(client)
        assert nobody.status_code == 401
        assert nobody.json()["error"]["request_id"] == nobody.headers["x-request-id"]
        assert post(client, auth=(app.id, reader_secret)).status_code == 401
        assert post(client, auth=(reader.id, reader_secret)).status_code == 403
        mine = (app.id, secret)
        answer = post(client, auth=mine)
        assert answer.json()["images"][0]["labels"][0]["name"] == "red"
        shown = client.get("/metrics", auth=(reader.id, reader_secret)).text
        assert 'tenshot_refused_total{status="401",version="colours@1"} 2.0' in shown
        keys.revoke(own, app.id, time.time())
        until(lambda: post(client, auth=mine).status_code == 401, "revoked")
        assert post(client, auth=(reader.id, reader_secret)).status_code == 403, "the other one still is known"

    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{endpoint.url}/readyz", verify=tls.trusting(tls.leaf(other)))
    photo = tmp_path / "red.png"
    photo.write_bytes(picture())
    found = predicting.predict(own, "colours@1", [str(photo)])
    assert found.through == endpoint.url
    assert found.entries[0]["labels"][0]["name"] == "red"

    with socket.create_connection((endpoint.host, endpoint.port), timeout=60) as plain:
        plain.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
        assert not plain.recv(4096).startswith(b"HTTP/1.1 200")

    control.stop(own, "colours@1")
    files = EndpointFiles.of(own, own.resolve("colours@1"))
    assert not [name for name in (keyring.RING, keyring.LOCAL_KEY) if (files.folder / name).exists()]
    journal.collect(own.store, own.home / "endpoints")
    counted = {r.key: r.quantity for r in own.store.usage() if r.unit == "image"}
    assert counted == {app.id: counted[app.id], keyring.LOCAL: 1}
    log = Path(files.log).read_text("utf-8")
    assert app.id in log
    assert secret not in log


def test_without_keys_and_with_slow_callers(own):
    endpoint = control.start(own, "colours@1", access=Access.of(own, insecure_no_auth=True)).endpoint
    assert not endpoint.secured
    with socket.create_connection((endpoint.host, endpoint.port), timeout=60) as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\n")
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
    with httpx.Client(base_url=endpoint.url, timeout=30) as client:
        assert post(client).status_code == 200
