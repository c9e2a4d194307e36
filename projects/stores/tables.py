"""The tables of the SQL store. A change here goes with a new file in `migrations/versions/`.

Times are seconds since the epoch. A status column holds a value of an enum in projects/status.py. Usage rows name their
project by text and not by key, because they outlive it.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _project_key() -> sa.Column[int]:
    return sa.Column("project_id", sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=False)


projects = sa.Table(
    "projects",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
    sa.Column("task", sa.String(32), nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    # The newest numbers ever given, so that none is given twice.
    sa.Column("last_dataset_version", sa.Integer, nullable=False),
    sa.Column("last_version", sa.Integer, nullable=False),
    sqlite_autoincrement=True,
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _project_key(),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("snapshot_sha256", sa.String(64), nullable=False),
    sa.Column("parent", sa.Integer),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("stats", sa.JSON, nullable=False),
    sa.UniqueConstraint("project_id", "number"),
    sqlite_autoincrement=True,
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _project_key(),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("status_message", sa.Text, nullable=False),
    sa.Column("dataset_version", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("trained_at", sa.Double),
    sa.Column("details", sa.JSON, nullable=False),
    sa.UniqueConstraint("project_id", "number"),
    sqlite_autoincrement=True,
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("version_id", sa.ForeignKey("versions.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", sa.ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("alias", sa.String(255), primary_key=True),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    _project_key(),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("lock_token", sa.String(64)),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("heartbeat_at", sa.Double),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("cancel_requested", sa.Boolean, nullable=False),
    sa.Column("progress", sa.JSON, nullable=False),
    sa.Index(None, "status", "kind", "id"),
    sqlite_autoincrement=True,
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("version_id", sa.ForeignKey("versions.id"), primary_key=True),
    sa.Column("ref", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("port", sa.Integer, nullable=False),
    sa.Column("units", sa.Integer, nullable=False),
    sa.Column("idle_stop_s", sa.Double, nullable=False),
    sa.Column("supervisor_pid", sa.Integer, nullable=False),
    sa.Column("supervisor_started_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double, nullable=False),
    sa.Column("ready_at", sa.Double),
    sa.Column("beat_at", sa.Double, nullable=False),
    sa.Column("last_request_at", sa.Double),
    sa.Column("restarts", sa.Integer, nullable=False),
    sa.Column("stop_requested", sa.Boolean, nullable=False),
    sa.Column("meter_id", sa.String(255)),
    sa.Column("supervisor_host", sa.Text),
    sa.Column("max_units", sa.Integer),
    sa.Column("workers", sa.Integer, nullable=False, server_default="0"),
    sa.Column("schedule", sa.Text, nullable=False, server_default=sa.text("''")),
    sa.Column("wake_on_request", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("secured", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("tls", sa.Boolean, nullable=False, server_default=sa.false()),
)

# The secrets are random and long, so that one round of a hash is enough to check them; the sealed one is for protocols
# that sign with the secret instead of sending it.
access_keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("secret_sha256", sa.String(64), nullable=False),
    sa.Column("secret_sealed", sa.Text, nullable=False),
    sa.Column("role", sa.String(32), nullable=False),
    sa.Column("projects", sa.JSON, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("revoked_at", sa.Double),
)

budgets = sa.Table(
    "budgets",
    metadata,
    sa.Column("project", sa.String(255), primary_key=True),
    sa.Column("amount", sa.Double, nullable=False),
    sa.Column("period", sa.String(16), nullable=False),
    sa.Column("stop", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("warned", sa.JSON, nullable=False),
)

meters = sa.Table(
    "meters",
    metadata,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("unit", sa.String(64), nullable=False),
    sa.Column("project", sa.String(255), nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("operation", sa.String(64), nullable=False),
    sa.Column("multiplier", sa.Double, nullable=False),
    sa.Column("opened_at", sa.Double, nullable=False),
    sa.Column("beat_at", sa.Double, nullable=False),
    sa.Column("closed", sa.Boolean, nullable=False),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("id", sa.String(255), primary_key=True),
    sa.Column("unit", sa.String(64), nullable=False),
    sa.Column("project", sa.String(255), nullable=False),
    sa.Column("version", sa.Integer),
    sa.Column("operation", sa.String(64), nullable=False),
    sa.Column("quantity", sa.Double, nullable=False),
    sa.Column("start_at", sa.Double, nullable=False),
    sa.Column("end_at", sa.Double, nullable=False),
    sa.Column("key", sa.String(128), nullable=False, server_default=sa.text("''")),
    sa.Column("billed", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Index(None, "start_at"),
    sa.Index(None, "end_at"),
)

usage_offsets = sa.Table(
    "usage_offsets",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("offset_bytes", sa.BigInteger, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("noun", sa.String(32), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("old", sa.String(32), nullable=False),
    sa.Column("new", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
