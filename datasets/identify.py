"""Which format a file or folder is of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.datasets.formats import FORMATS
from tenshot.projects.errors import FormatError

if TYPE_CHECKING:
    from tenshot.datasets.formats.base import Format

_LOOKED_FOR = (
    "class folders with images; a CSV with the columns image and label; a COCO JSON; a YOLO data.yaml or images/, "
    "labels/ and classes.txt; Pascal VOC XML files; a manifest with a source-ref in each line; a Label Studio JSON"
)


def identify(path: Path) -> Format:
    """The format of a file or folder. Raises FormatError saying what was looked for, or which ones it could be."""
    if not path.exists():
        raise FormatError(f"there is no file or folder {path}", hint="check the path")
    formats = [FORMATS.get(name) for name in FORMATS]
    try:
        found = [candidate for candidate in formats if candidate.identify(path)]
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {error.strerror or error}", hint="check its permissions") from None
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(candidate.name for candidate in found)
        raise FormatError(f"{path} could be any of {names}", hint=f"say which: --format {found[0].name}")
    raise FormatError(f"{path} is of no known format; looked for {_LOOKED_FOR}", hint="say which with --format")


def choose(path: Path, name: str = "auto") -> Format:
    """The format called `name`, or the one of `path` for `auto`. Raises UnknownNameError, FormatError."""
    if name == "auto":
        return identify(path)
    chosen = FORMATS.get(name)
    if not path.exists():
        raise FormatError(f"there is no file or folder {path}", hint="check the path")
    return chosen
