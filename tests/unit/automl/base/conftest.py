from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_http import Site, site


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as found:
        yield found


@pytest.fixture(autouse=True)
def no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither proxies nor a token of whoever runs the tests; an empty cache."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("TENSHOT_CACHE__DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TENSHOT_MODELS__TIMEOUT_S", "5")
