"""The import graph of `tenshot`, read from the source by AST; nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("configs", "projects", "datasets", "automl", "serving")
"""Left to right: a room imports only from those before it, and from itself."""


class Import(NamedTuple):
    name: str
    """Absolute, e.g. `tenshot.projects.errors` or `torch.nn`."""
    line: int
    when: str
    """`import` (with the module), `later` (in a function), or `typing` (only for the type checker)."""


@cache
def modules() -> dict[str, Path]:
    """Dotted name → file, of every module in the five rooms."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(("tenshot", *parts)).removesuffix(".__init__")] = path
    return found


@cache
def imports(name: str) -> list[Import]:
    """What a module imports, submodules that are named in `from … import` resolved."""
    tree = ast.parse(modules()[name].read_text("utf-8"))
    return [Import(target, line, when) for node, when in _statements(tree, "import") for target, line in _targets(node)]


def _statements(node: ast.AST, when: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child, when
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for inner in child.body:
                yield from _statements(ast.Module([inner], []), "typing")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from _statements(child, "later" if when == "import" else when)
        else:
            yield from _statements(child, when)


def _targets(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, int]]:
    if isinstance(node, ast.Import):
        yield from ((alias.name, node.lineno) for alias in node.names)
        return
    for alias in node.names:
        full = f"{node.module}.{alias.name}"
        yield (full if full in modules() else str(node.module)), node.lineno


def reached(start: str, *, later: bool = False) -> dict[str, tuple[str, ...]]:
    """Every module, ours or not, that importing `start` imports → the way there; if `later`, also what using it may."""
    ways: dict[str, tuple[str, ...]] = {start: (start,)}
    waiting, moments = [start], {"import", "later"} if later else {"import"}
    while waiting:
        name = waiting.pop()
        for found in (*_packages(name), *(one.name for one in imports(name) if one.when in moments)):
            if found in ways:
                continue
            ways[found] = (*ways[name], found)
            if found in modules():
                waiting.append(found)
    return ways


def _packages(name: str) -> Iterator[str]:
    """The packages whose `__init__` runs before a module."""
    parts = name.split(".")
    for length in range(2, len(parts)):
        if (package := ".".join(parts[:length])) in modules():
            yield package


def cycles() -> list[list[str]]:
    """Circles of imports that happen with the module."""
    graph = {name: {i.name for i in imports(name) if i.when == "import" and i.name in modules()} for name in modules()}
    found, done = [], set[str]()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
            return
        if name in done:
            return
        for target in sorted(graph[name] - {name}):
            visit(target, [*path, name])
        done.add(name)

    for name in graph:
        visit(name, [])
    return found
