"""The Bento of a model version: a thin service file and the bundle, in a Bento store under TENSHOT_HOME/bentoml.

Built once per bundle (the tag carries a digest of the manifest and of this recipe) and reused by every later start. It
can be exported or containerised with BentoML's own tools; it then needs `tenshot[serve]` of the same version.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tenshot.automl.bundle import MANIFEST, Manifest, read_manifest
from tenshot.projects.errors import EndpointError

SERVICE_FILE = '''"""The service of one Tenshot model version; the bundle lies beside this file."""

from tenshot.serving.endpoints.service import service

__all__ = ["service"]
'''
COMPLETE = "tenshot-complete"
"""A file in a Bento that was built to the end."""
RECIPE = 1
"""Count up when what a Bento holds changes, so that old ones are not reused."""


def prepare_environment(home: Path, environ: dict[str, str]) -> None:
    """Set what BentoML reads at its import: its home under `home` (a TENSHOT_HOME), and no telemetry."""
    environ["BENTOML_HOME"] = str(store_dir(home))
    for name, value in (("BENTOML_DO_NOT_TRACK", "True"), ("DO_NOT_TRACK", "1")):
        environ.setdefault(name, value)


def store_dir(home: Path) -> Path:
    return home / "bentoml"


def tag_of(bundle: Path) -> tuple[str, str]:
    """Name and version of the Bento that serves this bundle. Raises BundleError."""
    manifest = read_manifest(bundle)
    digest = hashlib.sha256((bundle / MANIFEST).read_bytes())
    digest.update(f"{RECIPE} {tenshot_version()}".encode())
    return bento_name(manifest.project), f"{manifest.version}-{digest.hexdigest()[:12]}"


def bento_name(project: str) -> str:
    """BentoML's names are lower case and start and end with a letter or digit; two projects never share one."""
    plain = re.sub(r"[^a-z0-9]+", "-", project.lower()).strip("-")[:40] or "project"
    return plain if plain == project else f"{plain}-{hashlib.sha256(project.encode()).hexdigest()[:8]}"


def tenshot_version() -> str:
    try:
        return version("tenshot")
    except PackageNotFoundError:
        return "0"


def ensure(home: Path, bundle: Path) -> Path:
    """The folder of the built Bento; builds it if there is none yet. Raises BundleError, EndpointError.

    Imports BentoML, so the environment must have been prepared; the service module is imported with it.
    """
    name, number = tag_of(bundle)
    built = store_dir(home) / "bentos" / name / number
    if (built / COMPLETE).is_file():
        return built
    # What a killed process left is not whole, and BentoML would say that it exists already.
    shutil.rmtree(built, ignore_errors=True)
    built = _build(bundle, name, number)
    (built / COMPLETE).touch()
    _forget_others(built)
    return built


def forget_project(home: Path, project: str) -> None:
    """Remove every Bento of a project that was deleted."""
    shutil.rmtree(store_dir(home) / "bentos" / bento_name(project), ignore_errors=True)


def _build(bundle: Path, name: str, number: str) -> Path:
    import bentoml

    manifest = read_manifest(bundle)
    with tempfile.TemporaryDirectory(prefix="tenshot-bento-") as folder:
        context = Path(folder)
        (context / "service.py").write_text(SERVICE_FILE, "utf-8")
        for file in (MANIFEST, *manifest.files):
            _link(bundle / file, context / "bundle" / file)
        try:
            built: Any = bentoml.bentos.build(
                "service:service",
                name=name,
                version=number,
                labels=_labels(manifest),
                include=["service.py", "bundle/**"],
                python={"packages": [f"tenshot[serve]=={tenshot_version()}"], "lock_packages": False},
                build_ctx=str(context),
                description=f"{manifest.project}@{manifest.version}, built by Tenshot.",
            )
        except bentoml.exceptions.BentoMLException as error:
            raise EndpointError(f"BentoML could not build the Bento of {name}:{number}: {error}") from error
    return Path(built.path)


def _labels(manifest: Manifest) -> dict[str, str]:
    # BentoML allows 63 characters of a narrow alphabet in a label.
    return {"task": str(manifest.task), "version": str(manifest.version)}


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _forget_others(built: Path) -> None:
    """Remove older Bentos of the same version: their bundle was replaced."""
    number = built.name.partition("-")[0]
    for other in built.parent.glob(f"{number}-*"):
        if other != built:
            shutil.rmtree(other, ignore_errors=True)
