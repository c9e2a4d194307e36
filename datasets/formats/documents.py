"""Reading JSON documents whose shape is not to be trusted: small accessors that say what was got and expected."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tenshot.projects.errors import FormatError

_BLOCK = 1 << 20
_LARGEST = 1e9
"""No picture has as many pixels on a side; JSON's whole numbers have no limit of their own."""


def load(path: Path) -> Any:
    """The parsed file. Raises FormatError with line and column."""
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError also for a number of 5,000 digits
        raise FormatError(f"{path} cannot be read as JSON: {error}", hint="check that the file is complete") from None


def first_char(path: Path) -> str:
    """The first character that is not a space; an empty string for an empty or unreadable file."""
    try:
        with path.open("rb") as file:
            return file.read(4096).decode("utf-8-sig", "replace").lstrip()[:1]
    except OSError:
        return ""


def mentions(path: Path, words: Iterable[str]) -> bool:
    """Whether all words occur in the file; read in blocks, so that large files cost no memory."""
    missing = {word.encode() for word in words}
    tail = b""
    try:
        with path.open("rb") as file:
            while missing and (block := file.read(_BLOCK)):
                missing = {word for word in missing if word not in tail + block}
                tail = block[-64:]
    except OSError:
        return False
    return not missing


def number(value: Any, what: str) -> float:
    """A finite number that a coordinate can be. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_LARGEST < value < _LARGEST:
        raise ValueError(f"{what} is {shorten(value)}, expected a number")
    return float(value)


def text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is {shorten(value)}, expected a text")
    return value


def table(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shorten(value)}, expected an object")
    return value


def rows(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is {shorten(value)}, expected a list")
    return value


def lines_of(path: Path) -> list[str]:
    """The lines of a small text file. Raises FormatError where it is no text."""
    try:
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path} cannot be read as text: {error}", hint="save it as text in UTF-8") from None


def size(width: Any, height: Any) -> tuple[int, int] | None:
    """A declared size in px, or None where it says nothing (missing, zero, not a number, beyond any picture's)."""
    try:
        w, h = int(float(width)), int(float(height))
    except (TypeError, ValueError, OverflowError):
        return None
    return (w, h) if 0 < w < _LARGEST and 0 < h < _LARGEST else None


def shorten(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "…"
