"""Tables of names that load what they name only when it is used.

A table is `{"name": "module:attribute"}`; `--help` and listings read the names without importing anything heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from tenshot.projects.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of `T`s by name, each given as `"package.module:attribute"`."""

    def __init__(self, kind: str, rows: Mapping[str, str]) -> None:
        self.kind = kind
        self.rows = dict(rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __contains__(self, name: str) -> bool:
        return name in self.rows

    def get(self, name: str) -> T:
        """Load the thing called `name`. Raises UnknownNameError with the near names."""
        if name not in self.rows:
            raise UnknownNameError(self.kind, name, self.rows)
        module, _, attribute = self.rows[name].partition(":")
        return cast("T", getattr(import_module(module), attribute))
