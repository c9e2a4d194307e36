import socket
import ssl
import threading

import pytest
from fixtures_tls import certificate

from tenshot.projects import keys
from tenshot.projects.errors import AccessError, CertificateError, UsageError
from tenshot.projects.keys import Role
from tenshot.projects.status import Task
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import tls
from tenshot.serving.endpoints.access import Access, is_loopback
from tenshot.serving.endpoints.probe import answers


@pytest.fixture
def own(workspace, monkeypatch):
    """A workspace that asks for keys, as users have it."""
    monkeypatch.delenv("TENSHOT_SERVING__INSECURE_NO_AUTH", raising=False)
    workspace.store.create_project("cells", Task.CLASSIFICATION, at=1.0)
    workspace.store.create_project("leaves", Task.CLASSIFICATION, at=1.0)
    return workspace


class Version:
    project, ref = "cells", "cells@1"


def settings(own, monkeypatch, **serving):
    for name, value in serving.items():
        monkeypatch.setenv(f"TENSHOT_SERVING__{name.upper()}", str(value))
    own.__dict__.pop("settings", None)
    return own


@pytest.mark.parametrize(
    ("roles", "limits", "starts"),
    [
        pytest.param([], (), False, id="no key"),
        pytest.param(["app"], (), True, id="app"),
        pytest.param(["admin"], ("cells",), True, id="admin of the project"),
        pytest.param(["app"], ("leaves",), False, id="of another project"),
        pytest.param(["reader", "labeler"], (), False, id="who may not predict"),
    ],
)
def test_an_endpoint_that_nobody_could_call_does_not_start(own, roles, limits, starts):
    for role in roles:
        keys.create(own, Role(role), at=1.0, projects=limits)
    access = Access.of(own)
    assert access.secured
    if starts:
        access.check(own, Version())
        return
    with pytest.raises(AccessError, match="nobody could call cells@1") as caught:
        access.check(own, Version())
    assert "tenshot keys create --role app" in caught.value.hint
    assert "--insecure-no-auth" in caught.value.hint


def test_a_revoked_key_does_not_count(own):
    key, _ = keys.create(own, Role.APP, at=1.0)
    keys.revoke(own, key.id, 2.0)
    with pytest.raises(AccessError):
        Access.of(own).check(own, Version())


@pytest.mark.parametrize(
    ("host", "only_here"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("::", False),
     ("0.0.0.0", False),  # noqa: S104
     ("192.168.0.7", False), ("example.org", False), ("127.0.0.1.example.org", False), ("", False)],
)  # fmt: skip
def test_without_keys_only_on_the_loopback_address(own, monkeypatch, host, only_here):
    assert is_loopback(host) is only_here
    workspace = settings(own, monkeypatch, host=f"'{host}'")
    access = Access.of(workspace, insecure_no_auth=True)
    assert not access.secured
    if only_here:
        access.check(workspace, Version())
    else:
        with pytest.raises(AccessError, match="loopback address only"):
            access.check(workspace, Version())


def test_settings_say_it_too_and_options_win(own, monkeypatch, tmp_path):
    certificate(own.home, "a")
    cert, key = certificate(tmp_path, "b")
    workspace = settings(own, monkeypatch, insecure_no_auth="true", tls_cert="a.crt", tls_key="a.key")
    assert Access.of(workspace) == Access(False, str(own.home / "a.crt"), str(own.home / "a.key"))
    assert Access.of(workspace, tls_cert=cert, tls_key=key) == Access(False, str(cert), str(key))
    Access.of(workspace).check(workspace, Version())


def test_it_is_remembered_for_whoever_starts_it_again(own, tmp_path):
    said = Access(True, "/a.crt", "/a.key")
    said.save(tmp_path)
    assert Access.load(own, tmp_path) == said
    (tmp_path / "access.json").write_text("nothing")
    assert Access.load(own, tmp_path) == Access(True), "the settings, which ask for keys"


def test_half_a_pair_is_refused(own, tmp_path):
    cert, key = certificate(tmp_path)
    for half in ({"tls_cert": cert}, {"tls_key": key}):
        with pytest.raises(UsageError, match="two files"):
            Access.of(own, **half)


# TLS ----------------------------------------------------------------------------------------------------------------


def broken(folder, what):
    cert, key = certificate(folder)
    _, other_key = certificate(folder, "other")
    if what == "missing certificate":
        cert.unlink()
    elif what == "missing key":
        key.unlink()
    elif what == "another key":
        return cert, other_key
    elif what == "swapped":
        return key, cert
    elif what == "no certificate":
        cert.write_text("nothing")
    elif what == "damaged certificate":
        cert.write_text(cert.read_text().replace("MII", "AAA", 1))
    elif what == "no key":
        key.write_text("nothing")
    elif what == "folder":
        return folder, key
    elif what == "expired":
        return certificate(folder, "old", days=-1)
    elif what == "to come":
        return certificate(folder, "new", days=40)
    elif what == "encrypted":
        return certificate(folder, "locked", password=b"secret")
    return cert, key


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing certificate", "certificate .* cannot be read"),
        ("missing key", "private key .* cannot be read"),
        ("another key", "is not the private key of"),
        ("swapped", "holds no certificate"),
        ("no certificate", "holds no certificate"),
        ("damaged certificate", "no certificate"),
        ("no key", "no certificate and private key"),
        ("folder", "cannot be read"),
        ("expired", "expired on"),
        ("to come", "valid from"),
        ("encrypted", "is encrypted"),
    ],
)
def test_files_that_will_not_do(own, tmp_path, what, message):
    cert, key = broken(tmp_path, what)
    with pytest.raises(CertificateError, match=message) as caught:
        Access.of(own, insecure_no_auth=True, tls_cert=cert, tls_key=key).check(own, Version())
    assert caught.value.hint


def serve_tls(cert, key, answer=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
    """Port of a server that answers one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.set_ciphers(tls.CIPHERS)
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        with listener, listener.accept()[0] as plain:
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    connection.recv(4096)
                    connection.sendall(answer)
            except (ssl.SSLError, OSError):
                pass

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


@pytest.mark.parametrize("days", [1, -1], ids=["valid", "expired meanwhile"])
def test_exactly_the_certificate_of_the_endpoint_is_trusted(tmp_path, days):
    cert, key = certificate(tmp_path, days=days)
    other, _ = certificate(tmp_path, "other")
    assert answers("127.0.0.1", serve_tls(cert, key), tls=tls.trusting(tls.leaf(cert)))
    assert not answers("127.0.0.1", serve_tls(cert, key), tls=tls.trusting(tls.leaf(other)))
    assert not answers("127.0.0.1", serve_tls(cert, key))


def test_of_a_chain_the_first_one_counts(tmp_path):
    cert, _ = certificate(tmp_path)
    other, other_key = certificate(tmp_path, "other")
    chain = tmp_path / "chain.pem"
    chain.write_text(cert.read_text() + other.read_text())
    assert tls.leaf(chain).strip() == cert.read_text().strip()
    assert not answers("127.0.0.1", serve_tls(other, other_key), tls=tls.trusting(tls.leaf(chain)))


def test_what_does_not_speak_tls_does_not_answer(tmp_path):
    cert, _ = certificate(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def run():
            with listener.accept()[0] as plain:
                plain.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

        threading.Thread(target=run, daemon=True).start()
        assert not answers("127.0.0.1", port, tls=tls.trusting(tls.leaf(cert)))


def test_workspaces_ask_for_keys_unless_told_otherwise(own):
    assert Workspace(own.home).settings.serving.insecure_no_auth is False
