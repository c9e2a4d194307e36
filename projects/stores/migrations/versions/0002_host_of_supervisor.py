"""On which machine the supervisor of an endpoint runs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("endpoints", sa.Column("supervisor_host", sa.Text()))


def downgrade() -> None:
    op.drop_column("endpoints", "supervisor_host")
