"""Requirements of an export: the versions that it was checked with, and everything that these need in turn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PREDICT = ("numpy", "opencv-python-headless", "pillow")
"""What predict.py needs besides a runtime."""
SERVE = ("anyio", "python-multipart", "starlette", "uvicorn")
"""What app.py needs besides."""


def pinned(names: Sequence[str]) -> list[str]:
    """`name==version` of each and of all that they need, as installed here, in order of their names.

    Raises ModuleNotFoundError (importlib's) for one that is not installed.
    """
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found[name] = metadata.version(name)
            waiting += _needed(metadata.requires(name) or ())
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def _needed(lines: Iterable[str]) -> list[str]:
    """Of a distribution's requirements those that count here and belong to no extra."""
    wanted = map(Requirement, lines)
    return [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
