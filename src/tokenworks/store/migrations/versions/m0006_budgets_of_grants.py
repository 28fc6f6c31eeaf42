"""Budgets of grants: what a task may come to, beside its key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; grants that exist have no budget of their own."""
    op.add_column("keys", sa.Column("budget", sa.Text(), nullable=False, server_default="null"))
