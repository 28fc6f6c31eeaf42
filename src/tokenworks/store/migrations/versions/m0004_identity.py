"""Projects and people; keys that can be rotated; changes of access that outlive a kill."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add three tables and six columns; every tenant that has keys is entered as one."""
    op.add_column("tenants", sa.Column("closed_at", sa.Float(), nullable=True))
    op.create_table(
        "projects",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("closed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "name"),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("handle", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("claimed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("handle"),
    )
    op.create_index("ix_people_tenant", "people", ["tenant"], unique=False)
    op.create_table(
        "access_changes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("entry", sa.Text(), nullable=False),
        sa.Column("first", sa.Text(), nullable=False),
        sa.Column("then", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    for name, default in (("id", ""), ("project", ""), ("owner", ""), ("ended_by", "")):
        op.add_column("keys", sa.Column(name, sa.String(), nullable=False, server_default=default))
    op.add_column("keys", sa.Column("roles", sa.Text(), nullable=False, server_default="[]"))
    op.execute("UPDATE keys SET id = prefix")
    op.execute("UPDATE keys SET ended_by = 'revocation' WHERE revoked_at IS NOT NULL")
    op.execute(
        "INSERT INTO tenants (name, created_at) SELECT tenant, MIN(created_at) FROM keys "
        "WHERE tenant NOT IN (SELECT name FROM tenants) GROUP BY tenant"
    )
    op.create_index("ix_keys_id", "keys", ["id"], unique=False)
