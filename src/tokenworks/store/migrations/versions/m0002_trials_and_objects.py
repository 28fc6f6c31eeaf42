"""Releases learn of trials; files, jobs, evals and turns get a table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add three columns and a table."""
    op.add_column("releases", sa.Column("canary", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("releases", sa.Column("share", sa.Float(), nullable=False, server_default="0"))
    op.add_column("releases", sa.Column("mode", sa.String(), nullable=False, server_default=""))
    op.create_table(
        "objects",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "id"),
    )
    op.create_index("objects_by_scope", "objects", ["kind", "scope", "created_at"], unique=False)
