"""Putting an export in place whole: it is made in a hidden folder beside its target, and renamed at the end.

Whoever makes such a folder holds a lock (flock) on it, so that the next export tells one that a killed process left
behind from one that is being made, and takes the first away.
"""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tenshot.projects.errors import AlreadyExists, ExportError
from tenshot.serving.exporting.carrying import CARD


def check_target(target: Path, *, force: bool) -> None:
    """Raises AlreadyExists unless `target` is free, empty, or (with `force`) an earlier export."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if not target.exists():
        return
    if not target.is_dir():
        raise AlreadyExists(f"{target} is a file", hint="name a folder that does not exist yet")
    if not is_export(target):
        raise AlreadyExists(f"{target} is not empty and holds no export", hint="name another folder")
    if not force:
        raise AlreadyExists(f"{target} holds an export already", hint="replace it with --force, or name another folder")


def is_export(folder: Path) -> bool:
    try:
        return "export" in json.loads((folder / CARD).read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


@contextmanager
def making(target: Path, *, force: bool) -> Iterator[Path]:
    """A new folder on the same file system as `target`; it is gone afterwards unless `place` was called.

    Raises AlreadyExists like `check_target`, and ExportError where nothing can be written.
    """
    folder = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        check_target(target, force=force)
        folder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (folder / "export").mkdir()
    except OSError as error:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise ExportError(f"{target.parent} cannot be written: {error.strerror or error}") from None
    try:
        yield folder / "export"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def place(made: Path, target: Path) -> None:
    """Rename `made` (from `making`) to `target`, in whose place an empty folder or an earlier export may be."""
    made.chmod(0o755)
    try:
        if target.exists() and any(target.iterdir()):
            # Its new place is swept with the rest of what was made.
            target.rename(made.with_name("replaced"))
            try:
                made.rename(target)
            except OSError:
                made.with_name("replaced").rename(target)
                raise
        else:
            made.rename(target)
    except OSError as error:
        raise ExportError(f"{target} cannot be put in place: {error.strerror or error}") from None


def _prefix(target: Path) -> str:
    return f".{target.name}.export-"


def _sweep(target: Path) -> None:
    """Take away what killed exports to the same target left, and put back what one of them was about to replace."""
    for left in target.parent.glob(f"{glob.escape(_prefix(target))}*"):
        with suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if (left / "replaced").is_dir() and not target.exists():
                    (left / "replaced").rename(target)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)
