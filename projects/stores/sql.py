"""The store on SQLite or PostgreSQL, through SQLAlchemy Core."""

from __future__ import annotations

from pathlib import Path

from tenshot.projects.store import Store
from tenshot.projects.stores.database import Database
from tenshot.projects.stores.sql_budgets import Budgets
from tenshot.projects.stores.sql_keys import Keys
from tenshot.projects.stores.sql_ledger import Ledger
from tenshot.projects.stores.sql_projects import Projects
from tenshot.projects.stores.sql_versions import Versions
from tenshot.projects.stores.sql_work import Work


class SqlStore(Projects, Versions, Work, Ledger, Budgets, Keys, Store):
    """Opens the database at `url`, makes or migrates its tables. A relative path of SQLite is one in `folder`.

    Raises StoreError if it cannot be reached or written, or if a newer Tenshot wrote it.
    """

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self.database = Database(url, folder)

    def close(self) -> None:
        self.database.close()

    def __str__(self) -> str:
        """Where it is, without the password."""
        return str(self.database)
