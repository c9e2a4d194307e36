"""How a command talks: documents on stdout, everything else on stderr.

A command calls `emit(document, view)` once. With `--json` the document is printed as JSON, else `view()` is printed for
people (anything that Rich can show). `notice()` and progress bars always go to stderr.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tenshot.projects.documents import dumps, escaped

if TYPE_CHECKING:
    from rich.console import Console


@dataclass
class Mode:
    """What `--json` and `--debug` said; set by the front door before a command runs."""

    json: bool = False
    debug: bool = False


mode = Mode()


def emit(document: Mapping[str, Any], view: Callable[[], Any]) -> None:
    """Print the result of a command. `document`: JSON values; `view` gives a Rich renderable, or a list of them."""
    if mode.json:
        write(document)
        return
    shown = view()
    for part in shown if isinstance(shown, list) else [shown]:
        stdout().print(part)


def write(document: Mapping[str, Any]) -> None:
    """Print one JSON document on stdout, whatever its encoding."""
    sys.stdout.write(escaped(dumps(document, default=str), sys.stdout.encoding) + "\n")


def notice(text: str) -> None:
    """A remark for people on stderr; silent with `--json`."""
    if not mode.json:
        stderr().print(text)


def stdout() -> Console:
    from rich.console import Console

    return Console(soft_wrap=True)


def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True, soft_wrap=True)
