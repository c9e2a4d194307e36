"""Budgets in the SQL store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import sqlalchemy as sa

from tenshot.projects.records import Budget
from tenshot.projects.stores.sql_rows import Row, SqlPart, find_project, one
from tenshot.projects.stores.tables import budgets


class Budgets(SqlPart):
    """The methods of the contract in projects/store.py on budgets."""

    def put_budget(self, budget: Budget) -> None:
        with self.database.write() as connection:
            find_project(connection, budget.project)
            connection.execute(sa.delete(budgets).where(budgets.c.project == budget.project))
            connection.execute(sa.insert(budgets).values(asdict(budget) | {"warned": list(budget.warned)}))

    def budgets(self) -> list[Budget]:
        with self.database.read() as connection:
            rows = connection.execute(sa.select(budgets).order_by(budgets.c.project)).mappings()
            return [_budget_of(row) for row in rows]

    def remove_budget(self, project: str) -> bool:
        with self.database.write() as connection:
            return connection.execute(sa.delete(budgets).where(budgets.c.project == project)).rowcount > 0

    def add_warnings(self, project: str, marks: Iterable[str]) -> list[str]:
        of_project = budgets.c.project == project
        with self.database.write() as connection:
            row = one(connection, sa.select(budgets).where(of_project))
            if row is None:
                return []
            new = [mark for mark in dict.fromkeys(marks) if mark not in row["warned"]]
            if new:
                connection.execute(sa.update(budgets).where(of_project).values(warned=[*row["warned"], *new]))
            return new


def _budget_of(row: Row) -> Budget:
    return Budget(**dict(row) | {"warned": tuple(row["warned"])})
