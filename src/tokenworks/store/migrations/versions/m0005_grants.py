"""Grants: keys of one task, made of another key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns; keys that exist are no grants."""
    op.add_column("keys", sa.Column("parent", sa.String(), nullable=False, server_default=""))
    op.add_column("keys", sa.Column("models", sa.Text(), nullable=False, server_default="[]"))
    op.create_index("ix_keys_parent", "keys", ["parent"], unique=False)
