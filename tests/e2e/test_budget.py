"""A budget that is used up stops a real endpoint, and the next start is refused."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures_serving import trained

from tenshot.projects.clock import now
from tenshot.projects.errors import BudgetExceeded
from tenshot.projects.records import Budget
from tenshot.projects.status import VersionStatus
from tenshot.projects.workspace import Workspace
from tenshot.serving.endpoints import control

pytestmark = pytest.mark.slow


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace(tmp_path / "home")
    workspace.home.mkdir()
    settings = {"serving": {"beat_s": 0.5}, "metering": {"budget_check_s": 0.5}}
    (workspace.home / "config.yaml").write_text(json.dumps(settings), "utf-8")
    (workspace.home / "prices.yaml").write_text(
        "currency: EUR\nunits:\n"
        "  inference_unit_second: {price: 5, per: 1, hosted: null}\n"
        "  image: {price: 0, per: 1, hosted: null}\n"
    )
    yield workspace
    control.stop(workspace, "colours@1")
    workspace.store.close()


def test_endpoint_stops_when_the_budget_is_used_up(workspace: Workspace) -> None:
    ref = trained(workspace)
    workspace.store.put_budget(Budget("colours", 10.0, "month", True, now()))
    control.start(workspace, ref)
    deadline = time.monotonic() + 60
    while workspace.resolve(ref).status is not VersionStatus.STOPPED:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "the budget is used up: colours has cost" in workspace.resolve(ref).status_message
    log = (workspace.endpoint_dir("colours", 1) / "endpoint.log").read_text("utf-8")
    assert log.count("budget: colours has cost") in {1, 2}, "80 % and 100 %, or both at once"
    (served,) = (record for record in workspace.store.usage() if record.unit == "inference_unit_second")
    assert served.quantity >= 2.0
    with pytest.raises(BudgetExceeded):
        control.start(workspace, ref)
    workspace.store.remove_budget("colours")
    control.start(workspace, ref)
