"""Where a study lies: Optuna's journal in the version's folder, or a database that a setting names.

What trials found that no database takes (out-of-fold predictions) lies beside the journal either way, so the processes
that share a study share TENSHOT_HOME too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenshot.projects.errors import MissingDependencyError, StoreError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

SCHEMA = "tenshot_search"
"""Of a PostgreSQL database: Optuna's tables stay apart from those of the store, which may be in the same database."""
_URLS = "write postgresql+psycopg://USER:PASSWORD@HOST/DATABASE into training.storage_url"


@dataclass(frozen=True)
class Place:
    """Of all studies of one version."""

    journal: Path
    url: str | None = None
    """SQLAlchemy URL of a database; None: the journal."""
    prefix: str = ""
    """Of the studies' names in a database, where those of all versions lie together."""
    beat_s: float = 2.0
    stale_after_s: float = 15.0
    """Seconds without a sign of life after which a process of another host counts as dead."""

    @property
    def folder(self) -> Path:
        return self.journal.parent

    def name(self, kind: str) -> str:
        """Of the study of one kind of candidate; unique in its storage."""
        return f"{self.prefix}/{kind}" if self.url and self.prefix else kind

    def trial_dir(self, kind: str, number: int) -> Path:
        return self.folder / f"{kind}-trials" / str(number)

    @property
    def exists(self) -> bool:
        """Whether there may be studies in it. A database is asked, a journal that is not there is not made."""
        return bool(self.url) or self.journal.is_file()


Where = Path | Place
"""A journal alone will do."""


def place_of(where: Where) -> Place:
    return where if isinstance(where, Place) else Place(where)


def storage(where: Where) -> BaseStorage:
    """Open it, readable whatever happened to its last writer. Raises StoreError, MissingDependencyError."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    place = place_of(where)
    place.folder.mkdir(parents=True, exist_ok=True)
    return _database(place.url) if place.url else _journal(place.journal)


def _journal(path: Path) -> BaseStorage:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    lock = _Lock(path)

    class Backend(JournalFileBackend):
        """Waits for the disk only when a trial ends, and not for each of its parameters: what a killed process wrote
        is with the system anyway, and without power only the trials that run are lost."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
            with lock, path.open("ab") as file:
                file.write(text.encode())
                file.flush()
                if any("state" in log and TrialState(log["state"]).is_finished() for log in logs):
                    os.fsync(file.fileno())

    with lock:  # mends the file
        return JournalStorage(Backend(str(path), lock_obj=lock))


class _Lock:
    """Alone with the journal. The system frees it when its holder dies, however that happens; what a dying writer left
    of a line is cut off by the next holder, since its own line would be glued to it."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._file = journal.with_name(f"{journal.name}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        import fcntl

        descriptor = os.open(self._file, os.O_CREAT | os.O_WRONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _mend(self._journal)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def _mend(journal: Path) -> None:
    """Only for who holds the lock."""
    if not journal.is_file():
        return
    with journal.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
    os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)


def resolved(url: str | None, home: Path) -> str | None:
    """With the path of an SQLite file, which may be relative, below `home`: processes work in different folders."""
    scheme = "sqlite:///"
    if url is None or not url.startswith(scheme):
        return url
    return f"{scheme}{home / url.removeprefix(scheme)}"


def _database(text: str) -> BaseStorage:
    import sqlalchemy as sa
    from optuna.storages import RDBStorage

    url = _parse(text)
    options: dict[str, Any] = {"pool_pre_ping": True}
    with _as_store_errors(url):
        if url.get_backend_name() == "postgresql":
            _make_schema(url)
            options["connect_args"] = {"connect_timeout": 10, "options": f"-csearch_path={SCHEMA}"}
        with _alone(url):  # Optuna makes its tables without asking whether another process does so just now
            return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
    raise sa.exc.InvalidRequestError  # not reached: the block returns or raises


def _parse(text: str) -> Any:
    import sqlalchemy as sa

    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise StoreError(f"training.storage_url is {text!r}, which is not a database URL", hint=_URLS) from None
    return url.set(drivername="postgresql+psycopg") if url.drivername in {"postgresql", "postgres"} else url


def _make_schema(url: Any) -> None:
    import sqlalchemy as sa

    engine = sa.create_engine(url, connect_args={"connect_timeout": 10})
    try:
        with engine.begin() as connection:
            _lock(connection)
            connection.execute(sa.text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
    finally:
        engine.dispose()


@contextmanager
def _alone(url: Any) -> Iterator[None]:
    """One process at a time on PostgreSQL; other databases have no such lock that is worth its code."""
    import sqlalchemy as sa

    if url.get_backend_name() != "postgresql":
        yield
        return
    engine = sa.create_engine(url, connect_args={"connect_timeout": 10})
    try:
        with engine.begin() as connection:
            _lock(connection)
            yield
    finally:
        engine.dispose()


def _lock(connection: Any) -> None:
    import sqlalchemy as sa

    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(0x7E25108)))


@contextmanager
def _as_store_errors(url: Any) -> Iterator[None]:
    import sqlalchemy as sa
    from optuna.exceptions import StorageInternalError

    hint = "check that the server runs and the setting training.storage_url is right; null: a journal file"
    shown = url.render_as_string(hide_password=True)
    try:
        yield
    except (ModuleNotFoundError, ImportError) as error:
        if url.get_backend_name() == "postgresql":
            raise MissingDependencyError("postgres", str(error.name or "psycopg")) from None
        raise StoreError(f"the storage {shown} needs a driver that is not installed: {error}", hint=_URLS) from error
    except (sa.exc.SQLAlchemyError, StorageInternalError) as error:
        reason = next(iter(str(getattr(error, "orig", None) or error).strip().splitlines()), type(error).__name__)
        raise StoreError(f"the storage {shown} cannot be used: {reason}", hint=hint) from error
