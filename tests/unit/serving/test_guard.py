import asyncio
import base64
import json

import pytest

from tenshot.projects import keys
from tenshot.projects.keys import Role
from tenshot.projects.status import Task
from tenshot.serving.endpoints.guard import Guard, credentials
from tenshot.serving.endpoints.keyring import LOCAL, Ring, RingFile, local_credentials
from tenshot.serving.endpoints.rates import Buckets, take
from tenshot.serving.endpoints.tracing import KEY

AT = 100.0


def basic(key_id, secret):
    return b"Basic " + base64.b64encode(f"{key_id}:{secret}".encode())


def bearer(key_id, secret):
    return f"Bearer {key_id}:{secret}".encode()


class Answering:
    """An application that remembers whom it answered."""

    def __init__(self):
        self.seen = []

    async def __call__(self, scope, receive, send):
        self.seen.append((scope["path"], scope.get(KEY)))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def ask(app, path="/predict", *authorization):
    """(status, headers, document) of one request."""
    sent = []

    async def send(message):
        sent.append(message)

    async def run():
        headers = [(b"authorization", value) for value in authorization]
        await app({"type": "http", "method": "GET", "path": path, "headers": headers}, None, send)

    asyncio.run(run())
    start, body = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, json.loads(body) if body else None


@pytest.fixture
def project(workspace):
    for name in ("cells", "leaves"):
        workspace.store.create_project(name, Task.CLASSIFICATION, at=1.0)
    return workspace


@pytest.fixture
def ring_file(project):
    folder = project.endpoint_dir("cells", 1)
    folder.mkdir(parents=True)
    return RingFile(folder)


def publish(workspace, ring_file):
    ring_file.publish(keys.in_force(workspace.store))
    return Ring(ring_file.path)


# Who is let in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [basic, bearer])
@pytest.mark.parametrize(
    ("role", "limits", "path", "status"),
    [
        ("app", (), "/predict", 200),
        ("app", ("cells",), "/predict", 200),
        ("app", ("leaves",), "/predict", 403),
        ("app", (), "/metrics", 200),
        ("admin", (), "/predict", 200),
        ("reader", (), "/predict", 403),
        ("reader", (), "/metrics", 200),
        ("reader", ("leaves",), "/metrics", 403),
        ("labeler", (), "/predict", 403),
        ("labeler", (), "/docs.json", 200),
    ],
)
def test_roles_and_projects(project, ring_file, write, role, limits, path, status):
    key, secret = keys.create(project, Role(role), at=AT, projects=limits)
    app, refused = Answering(), []
    guard = Guard(app, "cells", ring=publish(project, ring_file), refused=refused.append)
    got, _, document = ask(guard, path, write(key.id, secret))
    assert got == status
    assert app.seen == ([(path, key.id)] if status == 200 else [])
    assert refused == ([] if status == 200 else [status])
    assert document is None or document["error"]["code"] == "Forbidden"


@pytest.mark.parametrize(
    "path", ["/predict", "/metrics", "/", "/docs.json", "/static_content/x.js", "/nothing", "/readyz/"]
)
def test_nobody_is_let_in_without_a_key(project, ring_file, path):
    app = Answering()
    status, headers, document = ask(Guard(app, "cells", ring=publish(project, ring_file)), path)
    assert (status, document["error"]["code"], app.seen) == (401, "Unauthorized", [])
    assert headers["www-authenticate"].startswith("Basic ")
    assert "Bearer" in headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_signs_of_life_need_none(project, ring_file, path):
    assert ask(Guard(Answering(), "cells", ring=publish(project, ring_file)), path)[0] == 200


def test_wrong_secrets_and_ids(project, ring_file):
    key, secret = keys.create(project, Role.APP, at=AT)
    other, other_secret = keys.create(project, Role.APP, at=AT)
    guard = Guard(Answering(), "cells", ring=publish(project, ring_file))
    wrong = [(key.id, other_secret), (key.id, ""), (key.id, secret + "x"), (key.id.lower(), secret), ("", secret)]
    wrong += [(key.id, key.secret_sha256), (LOCAL, ""), (LOCAL, secret), ("é", "ü"), (key.id, "x" * 10_000)]
    for pair in wrong:
        for write in (basic, bearer):
            assert ask(guard, "/predict", write(*pair))[0] == 401, pair
    assert ask(guard, "/predict", basic(key.id, secret))[0] == 200
    assert ask(guard, "/predict", basic(key.id, secret), basic(other.id, other_secret))[0] == 401, "two are none"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"Basic " + base64.b64encode(b"ID:a:b"), ("ID", "a:b")),
        (b"bAsIc   " + base64.b64encode(b"ID:"), ("ID", "")),
        (b"Bearer ID:secret", ("ID", "secret")),
        (b"bearer  ID:secret ", ("ID", "secret")),
        (b"Bearer ID", None),
        (b"Bearer :secret", None),
        (b"Bearer", None),
        (b"", None),
        (b"Basic ID:secret", None),
        (b"Basic \xff\xfe", None),
        (b"Basic " + base64.b64encode(b"\xff\xfe"), None),
        (b"AWS4-HMAC-SHA256 Credential=ID/x", None),
        (b"ID:secret", None),
    ],
)
def test_headers(header, expected):
    assert credentials({"headers": [(b"authorization", header)]}) == expected


def test_other_kinds_of_scope_pass():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Guard(app, "cells", ring=None)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"]


def test_secrets_are_compared_in_constant_time(project, ring_file, monkeypatch):
    """An unknown id costs the same comparison as a wrong secret."""
    import hmac

    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or real(a, b))
    key, _ = keys.create(project, Role.APP, at=AT)
    guard = Guard(Answering(), "cells", ring=publish(project, ring_file))
    for pair in ((key.id, "wrong"), ("TSAKUNKNOWN", "wrong")):
        assert ask(guard, "/predict", basic(*pair))[0] == 401
    assert keys.check(project.store, "TSAKUNKNOWN", "wrong") is None
    assert compared == [(64, 64)] * 3


# The ring -----------------------------------------------------------------------------------------------------------


def test_new_and_revoked_keys_are_seen_once_published(project, ring_file):
    ring = publish(project, ring_file)
    guard = Guard(Answering(), "cells", ring=ring)
    key, secret = keys.create(project, Role.APP, at=AT)
    assert ask(guard, "/predict", basic(key.id, secret))[0] == 401
    publish(project, ring_file)
    assert ask(guard, "/predict", basic(key.id, secret))[0] == 200
    keys.revoke(project, key.id, AT + 1)
    publish(project, ring_file)
    assert ask(guard, "/predict", basic(key.id, secret))[0] == 401


def test_the_ring_is_private_and_holds_no_secret(project, ring_file):
    _, secret = keys.create(project, Role.APP, at=AT)
    publish(project, ring_file)
    for path in ring_file.folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert secret not in ring_file.path.read_text()


def test_the_ring_is_written_only_when_something_changed(project, ring_file):
    publish(project, ring_file)
    before = ring_file.path.stat().st_ino, ring_file.path.stat().st_mtime_ns
    publish(project, ring_file)
    assert (ring_file.path.stat().st_ino, ring_file.path.stat().st_mtime_ns) == before
    ring_file.path.unlink()
    publish(project, ring_file)
    assert ring_file.path.is_file(), "somebody removed it"


@pytest.mark.parametrize("content", [None, "", "[]", '{"keys": {"a": {}}}', '{"keys": []}'])
def test_a_ring_that_cannot_be_read_lets_nobody_in_until_it_is_mended(project, ring_file, content):
    key, secret = keys.create(project, Role.APP, at=AT)
    ring = publish(project, ring_file)
    guard = Guard(Answering(), "cells", ring=ring)
    assert ask(guard, "/predict", basic(key.id, secret))[0] == 200
    good = ring_file.path.read_bytes()
    ring_file.path.unlink()
    if content is not None:
        ring_file.path.write_text(content)
    for _ in range(2):
        assert ask(guard, "/predict", basic(key.id, secret))[0] == 401
    mended = ring_file.folder / "mended"
    mended.write_bytes(good)
    mended.replace(ring_file.path)
    assert ask(guard, "/predict", basic(key.id, secret))[0] == 200


def test_tools_of_this_machine_have_a_key(project, ring_file):
    version = Version("cells@1")
    assert local_credentials(project, version) == {}
    app = Answering()
    guard = Guard(app, "cells", ring=publish(project, ring_file))
    header = local_credentials(project, version)["Authorization"].encode()
    assert ask(guard, "/predict", header)[0] == 200
    assert ask(guard, "/metrics", header)[0] == 200
    assert app.seen[0] == ("/predict", LOCAL)
    publish(project, RingFile(ring_file.folder))
    assert local_credentials(project, version)["Authorization"].encode() == header, "a later supervisor keeps it"
    ring_file.remove()
    assert local_credentials(project, version) == {}
    assert ask(guard, "/predict", header)[0] == 401
    publish(project, RingFile(ring_file.folder))
    assert local_credentials(project, version)["Authorization"].encode() != header, "a later endpoint does not"


class Version:
    def __init__(self, ref):
        self.ref = ref


# The rate -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "at", "now", "expected"),
    [
        pytest.param(5.0, 0.0, 0.0, (4.0, 0.0, 0.0), id="full"),
        pytest.param(0.5, 0.0, 0.0, (0.5, 0.0, 0.25), id="empty"),
        pytest.param(0.0, 0.0, 0.5, (0.0, 0.5, 0.0), id="just refilled"),
        pytest.param(0.0, 0.0, 1000.0, (4.0, 1000.0, 0.0), id="never more than the burst"),
        pytest.param(0.0, 500.0, 3.0, (4.0, 3.0, 0.0), id="of before the machine was started anew"),
    ],
)
def test_a_token_bucket(tokens, at, now, expected):
    assert take(tokens, at, now, 2.0, 5) == pytest.approx(expected)


def test_units_share_the_buckets_and_keys_do_not(tmp_path):
    now = [50.0]
    units = [Buckets(tmp_path / "rates", 2.0, 3, clock=lambda: now[0]) for _ in range(2)]
    assert [units[n % 2].wait_s("a") for n in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert units[0].wait_s("b") == 0.0
    now[0] += 0.5
    assert [units[0].wait_s("a"), units[1].wait_s("a")] == [0.0, 0.5]


def test_too_many_requests(project, ring_file, tmp_path):
    key, secret = keys.create(project, Role.APP, at=AT)
    ring = publish(project, ring_file)
    buckets = Buckets(tmp_path / "rates", 0.4, 2, clock=lambda: AT)
    refused = []
    guard = Guard(Answering(), "cells", ring=ring, buckets=buckets, refused=refused.append)
    mine = basic(key.id, secret)
    assert [ask(guard, "/predict", mine)[0] for _ in range(2)] == [200, 200]
    status, headers, document = ask(guard, "/predict", mine)
    assert (status, headers["retry-after"], document["error"]["code"]) == (429, "3", "TooManyRequests")
    assert ask(guard, "/metrics", mine)[0] == 200, "only predictions count"
    local = local_credentials(project, Version("cells@1"))["Authorization"].encode()
    assert {ask(guard, "/predict", local)[0] for _ in range(5)} == {200}, "this machine's tools are not limited"
    assert refused == [429]


def test_without_keys_all_callers_share_one_bucket(tmp_path):
    guard = Guard(Answering(), "cells", ring=None, buckets=Buckets(tmp_path / "rates", 1.0, 1, clock=lambda: AT))
    assert [ask(guard)[0] for _ in range(2)] == [200, 429]
