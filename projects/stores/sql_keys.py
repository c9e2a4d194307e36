"""Access keys in the SQL store. Rows are never removed: the ledger names keys by their ids."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from tenshot.projects.errors import AccessKeyNotFound, AlreadyExists
from tenshot.projects.records import AccessKey
from tenshot.projects.stores.sql_rows import Row, SqlPart, one
from tenshot.projects.stores.tables import access_keys


class Keys(SqlPart):
    def add_access_key(self, key: AccessKey) -> AccessKey:
        try:
            with self.database.write() as connection:
                values = asdict(key) | {"projects": list(key.projects)}
                connection.execute(sa.insert(access_keys).values(values))
        except sa.exc.IntegrityError:
            raise AlreadyExists(f"there is an access key {key.id} already") from None
        return key

    def access_key(self, key_id: str) -> AccessKey:
        with self.database.read() as connection:
            return _find(connection, key_id)

    def access_keys(self) -> list[AccessKey]:
        with self.database.read() as connection:
            rows = connection.execute(sa.select(access_keys).order_by(access_keys.c.created_at, access_keys.c.id))
            return [_key_of(row) for row in rows.mappings()]

    def revoke_access_key(self, key_id: str, *, at: float) -> AccessKey:
        with self.database.write() as connection:
            valid = (access_keys.c.id == key_id) & access_keys.c.revoked_at.is_(None)
            connection.execute(sa.update(access_keys).where(valid).values(revoked_at=at))
            return _find(connection, key_id)


def _find(connection: sa.Connection, key_id: str) -> AccessKey:
    row = one(connection, sa.select(access_keys).where(access_keys.c.id == key_id))
    if row is None:
        raise AccessKeyNotFound(key_id)
    return _key_of(row)


def _key_of(row: Row) -> AccessKey:
    return AccessKey(**dict(row) | {"projects": tuple(row["projects"])})
