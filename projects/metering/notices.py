"""What people are told beside the result of a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenshot.projects import clock, console
from tenshot.projects.errors import SettingsError

if TYPE_CHECKING:
    from tenshot.projects.workspace import Workspace


def tell_budgets(workspace: Workspace) -> None:
    """A notice for every mark that a budget has reached and that no people were told of yet."""
    from tenshot.projects.metering import budgets

    if console.mode.json or not console.stderr().is_terminal:  # nobody would read it, as under a timer
        return
    try:
        told = budgets.warnings(workspace, budgets.standings(workspace, clock.now()), "people")
    except SettingsError as error:  # prices that cannot be read are no reason to withhold what was asked for
        told = [f"cannot be checked: {error.message}"]
    for text in told:
        console.notice(f"budget: {text}")
