"""An export is there whole or not at all, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tenshot.projects.errors import AlreadyExists, ExportError
from tenshot.serving.exporting import placing

KILLED = """
import os, signal, sys
from pathlib import Path
from tenshot.serving.exporting import placing

target = Path(sys.argv[1])
with placing.making(target, force=True) as made:
    (made / "card.json").write_text('{"export": 2}')
    if sys.argv[2] == "replacing":
        target.rename(made.with_name("replaced"))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def make(target, number=1, *, force=False):
    with placing.making(target, force=force) as made:
        (made / "card.json").write_text(f'{{"export": {number}}}', "utf-8")
        placing.place(made, target)


def number(target):
    return (target / "card.json").read_text("utf-8")


def killed(target, when):
    done = subprocess.run([sys.executable, "-c", KILLED, str(target), when], cwd=target.parent)
    assert done.returncode == -signal.SIGKILL


def test_parents_are_made_and_nothing_else_stays(tmp_path):
    target = tmp_path / "a" / "b"
    make(target)
    assert number(target) == '{"export": 1}'
    assert [path.name for path in target.parent.iterdir()] == ["b"]
    assert target.stat().st_mode & 0o777 == 0o755


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    assert number(tmp_path / "out") == '{"export": 1}'


def test_an_earlier_export_needs_force(tmp_path):
    make(tmp_path / "out")
    with pytest.raises(AlreadyExists) as raised:
        make(tmp_path / "out", 2)
    assert "--force" in raised.value.hint
    make(tmp_path / "out", 2, force=True)
    assert number(tmp_path / "out") == '{"export": 2}'
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("kind", ["file", "photos", "another card"])
def test_what_is_no_export_is_never_replaced(tmp_path, kind, force):
    target = tmp_path / "out"
    if kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / ("card.json" if kind == "another card" else "photo.jpg")).write_text("[]")
    with pytest.raises(AlreadyExists) as raised:
        make(target, force=force)
    assert "name" in raised.value.hint
    assert "--force" not in raised.value.hint


def test_a_name_that_looks_like_a_pattern(tmp_path):
    target = tmp_path / "out[1]*"
    killed(target, "writing")
    make(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out[1]*"]


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(ExportError), placing.making(tmp_path / "out", force=False) as made:
        (made / "half").write_text("")
        raise ExportError("deviates")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_one_leaves_nothing_in_place_and_the_next_sweeps(tmp_path):
    target = tmp_path / "out"
    killed(target, "writing")
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1
    make(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_killed_while_writing_keeps_the_earlier_export(tmp_path):
    target = tmp_path / "out"
    make(target)
    killed(target, "writing")
    assert number(target) == '{"export": 1}'


def test_killed_between_the_two_renames_the_earlier_export_comes_back(tmp_path):
    target = tmp_path / "out"
    make(target)
    killed(target, "replacing")
    assert not target.exists()
    with pytest.raises(AlreadyExists):  # the earlier one is back, so that this needs --force again
        make(target, 3)
    assert number(target) == '{"export": 1}'


def test_one_that_is_being_made_is_left_alone(tmp_path):
    target = tmp_path / "out"
    with placing.making(target, force=False) as first:
        make(target)
        assert first.is_dir()
        with pytest.raises(ExportError, match="cannot be put in place"):
            (target / "more").mkdir()
            first.with_name("replaced").write_text("in the way")
            placing.place(first, target)
    assert number(target) == '{"export": 1}'


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ExportError, match="cannot be written"):
        make(tmp_path / "out")
