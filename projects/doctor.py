"""`tenshot doctor`: what is installed, reachable and writable, and what to do about what is not.

A check is a function of the workspace; rooms further right add theirs as a row.
"""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Literal

from tenshot.projects.errors import TenshotError
from tenshot.projects.extras import DISTRIBUTIONS, EXTRAS
from tenshot.projects.processes import cores

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

OLDEST_PYTHON = (3, 11)
FREE_FAIL_BYTES, FREE_WARN_BYTES = 500 << 20, 5 << 30
MEMORY_WARN_BYTES = 3 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    way_out: str = ""
    """What to do; empty if nothing is wrong."""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


Check = Callable[["Workspace"], "Finding | list[Finding]"]

CHECKS: dict[str, str] = {
    "python": "tenshot.projects.doctor:python",
    "extras": "tenshot.projects.doctor:extras",
    "home": "tenshot.projects.doctor:home",
    "settings": "tenshot.projects.doctor:settings",
    "store": "tenshot.projects.doctor:store",
    "disk": "tenshot.projects.doctor:disk",
    "machine": "tenshot.projects.doctor:machine",
    "base models": "tenshot.automl.base.checks:cached_models",
}
"""Name of a check → `module:function`."""


def examine(workspace: Workspace) -> list[Finding]:
    """Run every check; one that cannot run is a finding as well."""
    return [finding for name, target in CHECKS.items() for finding in _run(name, target, workspace)]


def _run(name: str, target: str, workspace: Workspace) -> Iterator[Finding]:
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute)(workspace)
    except TenshotError as error:
        yield Finding(name, "fail", error.message, error.hint)
    except Exception as error:
        yield Finding(name, "fail", f"{type(error).__name__}: {error}", "this check did not run; try --debug")
    else:
        yield from found if isinstance(found, list) else [found]


def python(_workspace: Workspace) -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "fail", version, "install Python 3.11 or newer")
    return Finding("python", "ok", f"{version} on {platform.system()} {platform.machine()}")


def extras(_workspace: Workspace) -> list[Finding]:
    return [_extra(name, modules) for name, modules in EXTRAS.items()]


def _extra(name: str, modules: tuple[str, ...]) -> Finding:
    versions, missing = [], []
    for module in modules:
        distribution = DISTRIBUTIONS.get(module, module)
        try:
            versions.append(f"{distribution} {metadata.version(distribution)}")
        except metadata.PackageNotFoundError:
            missing.append(distribution)
    if missing:
        way_out = f"if you need it: pip install 'tenshot[{name}]'"
        return Finding(f"extra {name}", "warn", f"missing {', '.join(missing)}", way_out)
    return Finding(f"extra {name}", "ok", ", ".join(versions))


def home(workspace: Workspace) -> Finding:
    try:
        workspace.home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=workspace.home) as stream:
            stream.write(b"tenshot")
    except OSError as error:
        return Finding("TENSHOT_HOME", "fail", str(error), "set TENSHOT_HOME to a folder that you may write")
    return Finding("TENSHOT_HOME", "ok", str(workspace.home))


def settings(workspace: Workspace) -> Finding:
    own = workspace.home / "config.yaml"
    read = workspace.settings.serving.host  # reading one reads them all; a mistake is raised
    return Finding("settings", "ok", f"{own if own.is_file() else 'the defaults'}; endpoints listen on {read}")


def store(workspace: Workspace) -> Finding:
    projects = len(workspace.store.projects())
    return Finding("store", "ok", f"{workspace.store}: {projects} project{'s' * (projects != 1)}")


def disk(workspace: Workspace) -> Finding:
    free = shutil.disk_usage(_existing(workspace)).free
    text = f"{free / 2**30:.1f} GiB free"
    way_out = f"make room on the disk of {workspace.home}; a training writes some hundred MiB"
    if free < FREE_FAIL_BYTES:
        return Finding("disk", "fail", text, way_out)
    return Finding("disk", "warn", text, way_out) if free < FREE_WARN_BYTES else Finding("disk", "ok", text)


def _existing(workspace: Workspace) -> str:
    return str(next(path for path in [workspace.home, *workspace.home.parents] if path.exists()))


def machine(_workspace: Workspace) -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    text = f"{cores()} cores, {memory.total / 2**30:.1f} GiB memory, {memory.available / 2**30:.1f} GiB of it free"
    if memory.available < MEMORY_WARN_BYTES:
        return Finding("machine", "warn", text, "close other programs before you train")
    return Finding("machine", "ok", text)
