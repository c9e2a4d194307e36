"""Errors, statuses, tables of names, time: what every room stands on."""

from __future__ import annotations

import inspect
import re
from enum import StrEnum

import pytest

from tenshot.projects import errors
from tenshot.projects.clock import iso
from tenshot.projects.errors import IllegalTransition, TenshotError, UnknownNameError, UsageError, did_you_mean
from tenshot.projects.registry import Registry
from tenshot.projects.status import IN_SERVICE, TRAINED, TRANSITIONS, JobStatus, VersionStatus, check
from tenshot.projects.times import parse_time
from tenshot.projects.workspace import Workspace

ERRORS = [e for _, e in inspect.getmembers(errors, inspect.isclass) if issubclass(e, TenshotError)]


def drawn() -> list[tuple[int, str]]:
    """(depth, name) of the tree in the docstring."""
    found = re.findall(r"^    ((?:[│ ]   )*(?:[├└]── )?)(\w+)", str(errors.__doc__), re.MULTILINE)
    return [(len(indent) // 4, name) for indent, name in found]


def test_every_error_is_drawn_once_below_its_parent() -> None:
    parents: dict[str, str] = {}
    path: list[str] = []
    for depth, name in drawn():
        path[depth:] = [name]
        assert name not in parents
        parents[name] = path[depth - 1] if depth else "Exception"
    assert parents == {error.__name__: error.__mro__[1].__name__ for error in ERRORS}


def test_document() -> None:
    error = UsageError("got x", hint="say y", got="x")
    assert error.document() == {"error": {"code": "UsageError", "message": "got x", "hint": "say y"}}
    assert (error.exit_status, TenshotError("m").exit_status, error.fields) == (2, 1, {"got": "x"})


@pytest.mark.parametrize(
    ("got", "hint"), [("voc", "did you mean voc?"), ("cocoo", "did you mean coco?"), ("zzz", "")], ids=str
)
def test_did_you_mean(got: str, hint: str) -> None:
    assert did_you_mean(got, ["coco", "voc", "yolo"]) == hint


def test_registry() -> None:
    table: Registry[object] = Registry("thing", {"iso": "tenshot.projects.clock:iso", "gone": "tenshot.nowhere:x"})
    assert list(table) == ["iso", "gone"]
    assert "iso" in table
    assert table.get("iso") is iso
    with pytest.raises(UnknownNameError, match="unknown thing 'isso'; expected one of gone, iso") as caught:
        table.get("isso")
    assert "iso" in caught.value.hint


@pytest.mark.parametrize("old", list(TRANSITIONS), ids=lambda s: f"{type(s).__name__}.{s}")
def test_transitions(old: StrEnum) -> None:
    for new in type(old):
        if new in TRANSITIONS[old]:
            assert check("x", old, new) is new
        else:
            with pytest.raises(IllegalTransition) as caught:
                check("x", old, new)
            assert str(old) in caught.value.message
            assert str(new) in caught.value.message


def test_every_status_has_its_transitions() -> None:
    kinds = {type(status) for status in TRANSITIONS}
    assert {status for kind in kinds for status in kind} == set(TRANSITIONS)


def test_a_version_in_service_is_trained_and_cannot_be_deleted() -> None:
    assert IN_SERVICE < TRAINED
    assert all(VersionStatus.DELETING not in TRANSITIONS[status] for status in IN_SERVICE)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        pytest.param("1970-01-02", 86400.0, id="date"),
        pytest.param("1970-01-01T01:00", 3600.0, id="minutes"),
        pytest.param("1970-01-01 01:00:05", 3605.0, id="space"),
        pytest.param("1970-01-01T01:00:00+01:00", 0.0, id="offset"),
        pytest.param("1970-01-01T00:00:10Z", 10.0, id="zulu"),
    ],
)
def test_parse_time(text: str, at: float) -> None:
    assert parse_time(text) == at


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "12:00"])
def test_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="not a date"):
        parse_time(text)


def test_iso() -> None:
    assert iso(None) is None
    assert iso(0.9) == "1970-01-01T00:00:00Z"


class TestResolve:
    @pytest.fixture(autouse=True)
    def versions(self, workspace: Workspace) -> None:
        from tenshot.projects.status import Task

        store = workspace.store
        store.create_project("p", Task.DETECTION, at=1.0)
        for number in (1, 2, 3):
            store.create_version("p", dataset_version=1, at=1.0)
            if number < 3:
                store.advance_version("p", number, VersionStatus.TRAINING_COMPLETED, at=2.0)
        store.set_alias("p", "champion", 1)

    @pytest.mark.parametrize(
        ("ref", "number"), [("p", 2), ("p@1", 1), ("p@champion", 1)], ids=["newest trained", "number", "alias"]
    )
    def test_found(self, workspace: Workspace, ref: str, number: int) -> None:
        assert workspace.resolve(ref).number == number

    def test_untrained(self, workspace: Workspace) -> None:
        assert workspace.resolve("p@3", trained=False).number == 3
        with pytest.raises(errors.VersionNotFound, match="TRAINING_IN_PROGRESS"):
            workspace.resolve("p@3")

    @pytest.mark.parametrize(
        ("ref", "error"),
        [
            ("", UsageError), ("@1", UsageError), ("p@", UsageError), ("q", errors.ProjectNotFound),
            ("p@9", errors.VersionNotFound), ("p@blue", errors.VersionNotFound), ("p@-1", errors.VersionNotFound),
            ("p@" + "9" * 20, errors.VersionNotFound), ("p@" + "9" * 5000, errors.VersionNotFound),
        ],
    )  # fmt: skip
    def test_not_found(self, workspace: Workspace, ref: str, error: type[Exception]) -> None:
        with pytest.raises(error):
            workspace.resolve(ref)


@pytest.mark.parametrize("word", sorted(set(map(str, VersionStatus)) & set(map(str, JobStatus))))
def test_a_word_that_two_nouns_share_has_the_transitions_of_each(word):
    version, job = VersionStatus(word), JobStatus(word)
    assert version != job
    assert version == word
    assert {type(status) for status in TRANSITIONS[version]} <= {VersionStatus}
    assert {type(status) for status in TRANSITIONS[job]} <= {JobStatus}
