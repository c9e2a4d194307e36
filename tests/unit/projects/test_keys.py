import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tenshot.projects import cli, keys
from tenshot.projects.errors import AccessError, AccessKeyNotFound, KeyFileError, ProjectNotFound, UnknownNameError
from tenshot.projects.keys import Action, Role
from tenshot.projects.sealing import Seal, replace_private, write_private
from tenshot.projects.status import Task


@pytest.fixture
def made(workspace):
    workspace.store.create_project("cells", Task.CLASSIFICATION, at=1.0)
    return keys.create(workspace, Role.APP, at=10.0, projects=["cells"], note="the shop")


def test_a_key_is_checked_by_its_secret_alone(workspace, made):
    key, secret = made
    assert re.fullmatch(r"TSAK[A-Z2-7]{16}", key.id)
    assert re.fullmatch(r"[A-Za-z0-9_-]{40}", secret)
    assert keys.check(workspace.store, key.id, secret) == key
    for wrong in ("", secret[:-1], secret + "x", key.secret_sha256, secret.swapcase()):
        assert keys.check(workspace.store, key.id, wrong) is None
    assert keys.check(workspace.store, "TSAKAAAAAAAAAAAAAAAA", secret) is None
    assert keys.check(workspace.store, key.id, "\udcff") is None, "what is no text is no secret"


def test_the_store_holds_no_secret(workspace, made):
    key, secret = made
    assert secret not in repr(workspace.store.access_key(key.id))
    assert all(secret.encode() not in path.read_bytes() for path in workspace.home.glob("tenshot.db*"))


def test_a_revoked_key_is_not_known_any_more(workspace, made):
    key, secret = made
    assert keys.revoke(workspace, key.id, 20.0).revoked_at == 20.0
    assert keys.revoke(workspace, key.id, 30.0).revoked_at == 20.0
    assert keys.check(workspace.store, key.id, secret) is None
    assert keys.in_force(workspace.store) == []
    with pytest.raises(AccessKeyNotFound):
        keys.revoke(workspace, "TSAKNOBODY", 20.0)


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("admin", {"predict", "read", "label", "manage"}),
        ("labeler", {"label", "read"}),
        ("app", {"predict", "read"}),
        ("reader", {"read"}),
        ("a role of tomorrow", set()),
    ],
)
def test_roles(role, may):
    assert {str(action) for action in Action if keys.may(role, (), action, "cells")} == may


@pytest.mark.parametrize(
    ("limits", "project", "may"),
    [((), "cells", True), ((), None, True), (("cells",), "cells", True), (("cells",), "leaves", False),
     (("cells",), None, False)],
)  # fmt: skip
def test_limits(limits, project, may):
    assert keys.may("admin", limits, Action.READ, project) is may


def test_what_cannot_be_made(workspace):
    with pytest.raises(ProjectNotFound):
        keys.create(workspace, Role.APP, at=1.0, projects=["nothing"])
    with pytest.raises(AccessError, match="at most 200"):
        keys.create(workspace, Role.APP, at=1.0, note="x" * 201)
    with pytest.raises(UnknownNameError, match="app"):
        keys.role_of("apps")
    assert workspace.store.access_keys() == []


# The key file -------------------------------------------------------------------------------------------------------


def test_a_secret_can_be_had_again_with_the_key_file(workspace, made):
    key, secret = made
    assert keys.secret_of(workspace, key) == secret
    assert stat.S_IMODE(Seal.of(workspace.home).path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "message"), [(None, "is missing"), ("another", "is not the file"), (b"nothing", "cannot be used")]
)
def test_a_key_file_that_is_gone_says_the_way_out(workspace, made, content, message):
    key, secret = made
    seal = Seal.of(workspace.home)
    seal.path.unlink()
    if content == "another":
        seal.make()
    elif content:
        write_private(seal.path, content)
    with pytest.raises(KeyFileError, match=message) as caught:
        keys.secret_of(workspace, key)
    assert "revoke the keys" in caught.value.hint
    assert keys.check(workspace.store, key.id, secret) == key, "the check needs no key file"
    with pytest.raises(KeyFileError, match="no key was made"):
        keys.create(workspace, Role.APP, at=11.0)
    # And the way out is one.
    keys.revoke(workspace, key.id, 12.0)
    seal.path.unlink(missing_ok=True)
    again, new_secret = keys.create(workspace, Role.APP, at=13.0)
    assert keys.secret_of(workspace, again) == new_secret


def test_many_who_make_the_key_file_at_once_get_one(tmp_path):
    seal = Seal.of(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        sealed = list(pool.map(lambda n: (seal.make(), seal.close(str(n)))[1], range(32)))
    assert [seal.open(one) for one in sealed] == [str(n) for n in range(32)]
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_private_files_are_private(tmp_path):
    path = tmp_path / "file"
    for data in (b"one", b"two"):
        replace_private(path, data)
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_private(path, b"three")
    assert list(tmp_path.iterdir()) == [path]


# The command line ---------------------------------------------------------------------------------------------------


def ran(capsys, *words, status=0):
    assert cli.run([*words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_commands(workspace, capsys):
    workspace.store.create_project("cells", Task.CLASSIFICATION, at=1.0)
    made = ran(capsys, "keys", "create", "--role", "app", "--project", "cells", "--note", "the shop")
    assert (made["role"], made["projects"], made["note"], made["revoked_at"]) == ("app", ["cells"], "the shop", None)
    assert keys.check(workspace.store, made["id"], made["secret"])
    [listed] = ran(capsys, "keys", "list")["keys"]
    assert listed == {key: value for key, value in made.items() if key != "secret"}
    assert ran(capsys, "keys", "revoke", made["id"])["revoked_at"]
    assert ran(capsys, "keys", "revoke", "TSAKX", status=1)["error"]["code"] == "AccessKeyNotFound"
    assert ran(capsys, "keys", "create", "--role", "king", status=2)["error"]["code"] == "UnknownNameError"


def test_for_people(workspace, capsys):
    assert cli.run(["keys", "list"]) == 0
    assert "tenshot keys create --role app" in capsys.readouterr().out
    assert cli.run(["keys", "create", "--role", "reader", "--note", "[bold]x"]) == 0
    shown = capsys.readouterr()
    assert "cannot be shown again" in shown.err
    assert cli.run(["keys", "list"]) == 0
    assert "[bold]x" in capsys.readouterr().out
