"""Opening a store: new, current, of another Tenshot, or not a store at all."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tenshot.projects.errors import StoreError
from tenshot.projects.status import Task
from tenshot.projects.stores.database import HEAD, MIGRATIONS, Database
from tenshot.projects.stores.sql import SqlStore
from tenshot.projects.workspace import Workspace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenshot.db"


def opened(path: Path) -> SqlStore:
    return SqlStore(f"sqlite:///{path}")


def test_new_store_is_in_wal_mode_at_the_head(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrations_make_the_tables_that_the_code_expects(path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from tenshot.projects.stores.tables import metadata

    database = Database(f"sqlite:///{path}")
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_current_store_opens_without_alembic(path: Path) -> None:
    opened(path).close()
    code = (
        "import sys; from tenshot.projects.stores.sql import SqlStore;"
        f"SqlStore('sqlite:///{path}').projects(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_newer_store_is_refused(path: Path) -> None:
    opened(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match="schema 9999") as caught:
        opened(path)
    assert "upgrade" in caught.value.hint
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_unfinished_migration_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    def full(*_names: object, **_options: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(op, "create_index", full)
    with pytest.raises(StoreError, match="No space left"):
        opened(path)
    monkeypatch.undo()
    assert opened(path).projects() == []


def test_other_file_is_refused(path: Path) -> None:
    path.write_text("These are notes and not a database. " * 100)
    with pytest.raises(StoreError, match="not a database"):
        opened(path)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        opened(tmp_path / "file" / "sub" / "tenshot.db")


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="TENSHOT_HOME"):
        _ = Workspace(tmp_path / "file").store


def test_store_that_may_not_be_written(path: Path) -> None:
    opened(path).close()
    with pytest.raises(StoreError, match="readonly") as caught:
        SqlStore(f"sqlite:///file:{path}?mode=ro&uri=true").create_project("p", Task.DETECTION, at=1.0)
    assert caught.value.hint


def test_no_folder_is_made_of_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SqlStore(f"sqlite:///file:{tmp_path}/sub/tenshot.db?uri=true").close()
    assert [path.name for path in tmp_path.iterdir()] == ["sub"]


def test_relative_path_is_one_in_home_wherever_a_process_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENSHOT_STORE__URL", "sqlite:///own.db")
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        workspace = Workspace(tmp_path / "home")
        if name == "here":
            workspace.store.create_project("p", Task.DETECTION, at=1.0)
        assert [project.name for project in workspace.store.projects()] == ["p"]
        workspace.store.close()
    assert (tmp_path / "home" / "own.db").is_file()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("tenshot.db", "not a database URL", id="a path"),
        pytest.param("mysql://host/name", "mysql", id="another database"),
        pytest.param("sqlite://", "no file", id="in memory"),
        pytest.param("sqlite:///:memory:", "no file", id="in memory by name"),
    ],
)
def test_url_that_is_no_store(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        SqlStore(url)
    assert "sqlite:///" in caught.value.hint


def test_server_that_does_not_answer_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(StoreError) as caught:
        SqlStore("postgresql://me:secret@127.0.0.1:1/tenshot")
    assert "127.0.0.1" in caught.value.message
    assert "secret" not in caught.value.message


def test_broken_reference_is_kept_out(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
