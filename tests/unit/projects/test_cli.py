"""The front door: exit statuses, errors for people and for programs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tenshot.projects import cli, console, offline
from tenshot.projects.errors import ImageError, TenshotError, UsageError
from tenshot.projects.workspace import Workspace

PLAYED: dict[str, Callable[[], None]] = {}
"""What the verb `play` does in a test."""


def play() -> None:
    """Do what the test says."""
    PLAYED["act"]()


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    verb = cli.Verb("played_by_the_tests:play", "Play.", "Tests")
    monkeypatch.setitem(sys.modules, "played_by_the_tests", sys.modules[__name__])
    monkeypatch.setitem(cli.VERBS, "play", verb)
    yield lambda act: PLAYED.__setitem__("act", act)
    PLAYED.clear()


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    """Exit status and the one document on stdout; with --json nothing else goes there."""
    status = cli.run([*argv, "--json"])
    return status, json.loads(capsys.readouterr().out)


NO_TORCH = ModuleNotFoundError("no torch", name="torch._C")
FAILURES = [
    pytest.param(ImageError("a.jpg", "bad", hint="send one"), 1, "ImageError", "a.jpg: bad", "send one", id="ours"),
    pytest.param(UsageError("wrong words"), 2, "UsageError", "wrong words", "", id="usage"),
    pytest.param(KeyError("x"), 1, "InternalError", "KeyError: 'x'", "--debug", id="unexpected"),
    pytest.param(OSError(28, "No space left"), 1, "InternalError", "No space left", "--debug", id="system"),
    pytest.param(NO_TORCH, 1, "MissingDependencyError", "'torch'", "tenshot[train]", id="extra"),
    pytest.param(ModuleNotFoundError("no x", name="tenshot.x"), 1, "InternalError", "no x", "--debug", id="own module"),
    pytest.param(KeyboardInterrupt(), 130, "Interrupted", "interrupted", "", id="ctrl-c"),
    pytest.param(typer.Abort(), 130, "Interrupted", "aborted", "", id="said no"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "status", "code", "message", "hint"), FAILURES)
class TestFailures:
    def test_for_programs(
        self, acts: Any, capsys: Any, error: BaseException, status: int, code: str, message: str, hint: str
    ) -> None:
        acts(raising(error))
        found, document = answer(capsys, "play")
        assert found == status
        assert set(document["error"]) == {"code", "message", "hint"}
        assert document["error"]["code"] == code
        assert message in document["error"]["message"]
        assert hint in document["error"]["hint"]

    def test_for_people(
        self, acts: Any, capsys: Any, error: BaseException, status: int, code: str, message: str, hint: str
    ) -> None:
        acts(raising(error))
        assert cli.run(["play"]) == status
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert message in printed.err
        assert hint in printed.err
        assert "Traceback" not in printed.err

    def test_traceback_on_demand(
        self, acts: Any, capsys: Any, error: BaseException, status: int, code: str, message: str, hint: str
    ) -> None:
        acts(raising(error))
        assert cli.run(["play", "--debug"]) == status
        assert ("Traceback" in capsys.readouterr().err) is not isinstance(error, KeyboardInterrupt)


def test_done_is_zero(acts: Any, capsys: Any) -> None:
    acts(lambda: console.emit({"a": 1}, lambda: "one"))
    assert answer(capsys, "play") == (0, {"a": 1})
    assert cli.run(["play"]) == 0
    assert capsys.readouterr().out == "one\n"


def test_own_exit_status(acts: Any) -> None:
    acts(raising(typer.Exit(1)))
    assert cli.run(["play"]) == 1


def test_markup_in_a_message_is_printed_as_it_is(acts: Any, capsys: Any) -> None:
    acts(raising(TenshotError("[bold]x[/nothing]", hint="pip install 'tenshot[train]'")))
    assert cli.run(["play"]) == 1
    assert capsys.readouterr().err == "error: [bold]x[/nothing]\nhint: pip install 'tenshot[train]'\n"


def test_notices_are_silent_with_json(acts: Any, capsys: Any) -> None:
    acts(lambda: console.notice("by the way"))
    cli.run(["play", "--json"])
    assert capsys.readouterr().err == ""
    cli.run(["play"])
    assert capsys.readouterr().err == "by the way\n"


WRONG = [
    pytest.param(["trian"], "train", id="verb"),
    pytest.param(["project"], "", id="no verb below"),
    pytest.param([], "", id="no verb"),
    pytest.param(["project", "cerate"], "create", id="verb below"),
    pytest.param(["project", "create", "p"], "--task", id="missing option"),
    pytest.param(["project", "create", "p", "--task", "guess"], "classification", id="choice"),
    pytest.param(["project", "create", "--task", "detection"], "NAME", id="missing argument"),
    pytest.param(["usage", "--form", "x"], "--form", id="option"),
    pytest.param(["usage", "--from", "yesterday"], "yesterday", id="value"),
    pytest.param(["usage", "--by", "year"], "hour", id="grouping"),
    pytest.param(["jobs", "cancel", "first"], "ID", id="number"),
    pytest.param(["jobs", "cancel", "9" * 30], "ID", id="number that no database holds"),
    pytest.param(["project", "create", "a/b", "--task", "detection"], "a/b", id="name with a slash"),
    pytest.param(["project", "create", "..", "--task", "detection"], "..", id="name of a folder"),
]


@pytest.mark.parametrize(("argv", "names"), WRONG)
def test_wrong_usage(workspace: Workspace, capsys: Any, argv: list[str], names: str) -> None:
    status, document = answer(capsys, *argv)
    assert (status, document["error"]["code"]) == (2, "UsageError")
    assert names in document["error"]["message"]
    assert cli.run(argv) == 2


def test_flags_anywhere_and_on_every_command(capsys: Any) -> None:
    for argv in (["--json", "trian"], ["trian", "--json"], ["project", "--json", "cerate"]):
        assert cli.run(argv) == 2
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "UsageError"


def test_words_after_a_double_dash_are_no_flags(capsys: Any) -> None:
    assert cli.run(["trian", "--", "--json"]) == 2
    assert capsys.readouterr().out == ""


def leaves(command: Any, path: str = "tenshot") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from leaves(below, f"{path} {name}")


@pytest.mark.parametrize("verb", ["project", "usage", "jobs", "doctor"])
def test_every_command_of_this_room_has_help_and_flags(verb: str) -> None:
    for path, command in leaves(cli.load(verb), verb):
        assert command.help, path
        options = {name for parameter in command.params for name in parameter.opts}
        assert {"--json", "--debug"} <= options, path


def test_version(capsys: Any) -> None:
    status, document = answer(capsys, "--version")
    assert status == 0
    assert document["version"][0].isdigit()


HEAVY = ("numpy", "cv2", "torch", "sqlalchemy", "pydantic", "yaml", "openvino", "mlflow")


def test_help_imports_no_room() -> None:
    code = (
        "import sys; from tenshot.projects import cli; status = cli.run(['--help']);"
        f"rooms = ('tenshot.automl', 'tenshot.datasets', 'tenshot.serving', *{HEAVY!r});"
        "print(sorted(name for name in sys.modules if name.startswith(rooms)), status, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[] 0"
    for verb in cli.VERBS:
        assert verb in done.stdout


def test_broken_pipe_is_silent(workspace: Workspace) -> None:
    for i in range(3):
        assert cli.run(["project", "create", f"p{i}", "--task", "detection"]) == 0
    reading, writing = os.pipe()
    os.close(reading)
    code = "from tenshot.projects.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "project", "list"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.stderr == ""


def test_libraries_are_told_to_stay_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "0")
    monkeypatch.delenv("YOLO_OFFLINE", raising=False)
    offline.set_defaults()
    assert os.environ["YOLO_OFFLINE"] == "1"
    assert os.environ["DO_NOT_TRACK"] == "0"


def test_home_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TENSHOT_HOME", str(tmp_path / "file"))
    status, document = answer(capsys, "project", "list")
    assert (status, document["error"]["code"]) == (1, "StoreError")


def test_debug_shows_our_log_and_only_then(acts: Any, capsys: Any) -> None:
    acts(lambda: logging.getLogger("tenshot.tests").debug("a small thing"))
    for flags, shown in ([], False), (["--debug"], True), ([], False):
        cli.run(["play", *flags])
        assert ("a small thing" in capsys.readouterr().err) is shown
