"""Access keys, budgets, the key and the bill of a usage record, and endpoints that scale."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _endpoint_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("max_units", sa.Integer()),
        sa.Column("workers", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("schedule", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("wake_on_request", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("secured", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("tls", sa.Boolean(), nullable=False, server_default=sa.false()),
    ]


def upgrade() -> None:
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("secret_sealed", sa.Text(), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("projects", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("revoked_at", sa.Double()),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_keys")),
    )
    op.create_table(
        "budgets",
        sa.Column("project", sa.String(255), nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.Column("period", sa.String(16), nullable=False),
        sa.Column("stop", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("warned", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("project", name=op.f("pk_budgets")),
    )
    op.add_column("usage", sa.Column("key", sa.String(128), nullable=False, server_default=sa.text("''")))
    op.add_column("usage", sa.Column("billed", sa.Boolean(), nullable=False, server_default=sa.true()))
    for column in _endpoint_columns():
        op.add_column("endpoints", column)


def downgrade() -> None:
    for column in reversed(_endpoint_columns()):
        op.drop_column("endpoints", column.name)
    op.drop_column("usage", "billed")
    op.drop_column("usage", "key")
    op.drop_table("budgets")
    op.drop_table("access_keys")
