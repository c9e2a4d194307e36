"""The supervisor's look at the budget of its project: now and then, and in a thread, so that the endpoint is looked
after meanwhile, however long the ledger has become. What follows is decided in projects/metering/budgets.py."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from tenshot.projects.clock import Clock, now
from tenshot.projects.errors import TenshotError
from tenshot.projects.metering import budgets

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace

log = logging.getLogger("tenshot.supervisor")


class Spending:
    def __init__(self, workspace: Workspace, project: str, *, wall: Clock = now) -> None:
        self._workspace, self._project, self._wall = workspace, project, wall
        self._every_s = workspace.settings.metering.budget_check_s
        self._looked_at: float | None = None
        self._thread: threading.Thread | None = None
        self._verdict = ""

    def used_up(self, at: float) -> str:
        """Why the endpoint has to stop, as far as is known by now; empty: it need not. Never waits.

        `at`: seconds of a clock that does not jump.
        """
        idle = self._thread is None or not self._thread.is_alive()
        if idle and (self._looked_at is None or at - self._looked_at >= self._every_s):
            self._looked_at = at
            self._thread = threading.Thread(target=self.look, name="budget", daemon=True)
            self._thread.start()
        return self._verdict

    def look(self) -> None:
        """Ask the ledger, and write what is new into the log: each mark once, whichever supervisor is first."""
        try:
            found = budgets.standings(self._workspace, self._wall(), project=self._project)
            for text in budgets.warnings(self._workspace, found, "log"):
                log.warning("budget: %s", text)
        except (TenshotError, OSError) as error:
            # Prices that cannot be read, a store that is away: no reason to stop what runs.
            log.warning("the budget cannot be checked: %s", error)
            return
        self._verdict = next((budgets.reason(standing) for standing in found if standing.stops), "")
