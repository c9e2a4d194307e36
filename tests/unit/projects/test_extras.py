"""The optional parts of Tenshot."""

from __future__ import annotations

import pytest

from tenshot.projects import extras
from tenshot.projects.errors import MissingDependencyError


@pytest.mark.parametrize("extra", extras.EXTRAS)
def test_installed_extra_is_there(extra: str) -> None:
    extras.require(extra)


def test_missing_module_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extras.EXTRAS, "imaginary", ("json", "no_such_module_here"))
    with pytest.raises(MissingDependencyError, match="no_such_module_here") as caught:
        extras.require("imaginary")
    assert "tenshot[imaginary]" in caught.value.hint
