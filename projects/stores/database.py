"""A database that many processes write at once: opening, migrating, and the two kinds of transaction.

Writers come one at a time: SQLite's `BEGIN IMMEDIATE`, on PostgreSQL an advisory lock that the transaction holds. Then
a method may look and decide within its transaction, and event ids appear in the order in which they are committed.
Readers see one snapshot.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from tenshot.projects.documents import dumps
from tenshot.projects.errors import MissingDependencyError, StoreError

HEAD = "0003"
"""The newest file in migrations/versions/, known here so that opening a current store does not import Alembic."""
MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_TIMEOUT_S = 30
LOCK = 0x7E25107
"""Key of the advisory lock on PostgreSQL."""

_open: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[sa.Engine] = []


class Database:
    """An open, migrated database. Threads may share it; a forked child gets connections of its own."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self.url = _parse(url, folder or Path.cwd())
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._connect()
        with self._as_store_errors():
            if self._version() != HEAD:
                self._migrate()
        _open.add(self)

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One snapshot. Raises StoreError."""
        with self._as_store_errors(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction, alone among writers; rolled back if the block raises. Raises StoreError.

        `sqlalchemy.exc.IntegrityError` (a unique rule) is left to the caller.
        """
        with self._as_store_errors(), self._writer.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
            yield connection

    def close(self) -> None:
        self._engine.dispose()

    def _connect(self) -> None:
        try:
            self._engine = _sqlite(self.url) if self.is_sqlite else _postgresql(self.url)
        except ModuleNotFoundError as error:
            raise MissingDependencyError("postgres", str(error.name)) from None
        self._writer = self._engine.execution_options(tenshot_writes=True)
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reader = self._engine.execution_options(**snapshot)

    def after_fork(self) -> None:
        """Connections must not be shared with the parent, nor be closed on its behalf: they are kept, unused."""
        _inherited.append(self._engine)
        self._connect()

    def _version(self) -> str | None:
        try:
            with self._engine.connect() as connection:
                return _schema(connection)
        except sa.exc.DBAPIError:
            # No such table, or nothing can be read at all: migrating will tell.
            return None

    def _migrate(self) -> None:
        with self._alone() as connection:
            found = _schema(connection) if sa.inspect(connection).has_table("alembic_version") else None
            if found == HEAD:
                return
            if found is not None and not list((MIGRATIONS / "versions").glob(f"{found}_*.py")):
                raise StoreError(
                    f"the store {self} has schema {found}, this Tenshot knows up to {HEAD}",
                    hint="a newer Tenshot wrote it: upgrade this one, or use another TENSHOT_HOME",
                )
            _upgrade(connection)

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        """A writing transaction in which the schema may change; SQLite is in WAL mode before it begins."""
        if not self.is_sqlite:
            with self.write() as connection:
                yield connection
            return
        with _flock(_file_of(self.url).parent):
            # Changing the mode does not wait for other connections as transactions do, hence the lock around it.
            raw = self._engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL")
            finally:
                raw.close()
            with self.write() as connection:
                yield connection

    @contextmanager
    def _as_store_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.IntegrityError:
            raise
        except sa.exc.DBAPIError as error:
            reason = str(error.orig).strip().splitlines()[0]
            raise StoreError(f"the store {self} cannot be used: {reason}", hint=self._way_out()) from error
        except sa.exc.StatementError as error:
            # Not the database but a value that no column takes: the caller's mistake.
            raise error.orig or error from None
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"the store {self} cannot be opened: {error}", hint=self._way_out()) from error

    def _way_out(self) -> str:
        if self.is_sqlite:
            return "check that the file and its folder can be written and the disk is not full, or set TENSHOT_HOME"
        return "check that the server runs and the setting store.url is right"

    def __str__(self) -> str:
        return str(self.url.database) if self.is_sqlite else self.url.render_as_string(hide_password=True)


def _after_fork() -> None:
    for database in _open:
        database.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _file_of(url: sa.URL) -> Path:
    """The file of an SQLite URL, whose database may be written as `file:PATH` too."""
    return Path(str(url.database).removeprefix("file:"))


def _parse(text: str, folder: Path) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise StoreError(f"store.url is {text!r}, which is not a database URL", hint=_URLS) from None
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise StoreError(f"store.url names the database {url.drivername!r}", hint=_URLS)
    if url.drivername.startswith("sqlite") and url.database in {None, "", ":memory:"}:
        raise StoreError("store.url names no file; a store is shared by processes", hint=_URLS)
    if url.get_backend_name() == "sqlite" and not str(url.database).startswith("file:"):
        # Processes of one store work in different folders.
        url = url.set(database=str(folder / str(url.database)))
    return url


_URLS = "write sqlite:///FOLDER/FILE or postgresql://USER:PASSWORD@HOST/DATABASE"


def _sqlite(url: sa.URL) -> sa.Engine:
    try:
        _file_of(url).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder of the store {url.database} cannot be made: {error}", hint="set TENSHOT_HOME to a folder"
        ) from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, json_serializer=dumps)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        # pysqlite begins transactions when it pleases, and never before a SELECT; here they are begun by hand.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("tenshot_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql(url: sa.URL) -> sa.Engine:
    return sa.create_engine(url, json_serializer=dumps, pool_pre_ping=True, connect_args={"connect_timeout": 10})


def _schema(connection: sa.Connection) -> str | None:
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _flock(folder: Path) -> Iterator[None]:
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
