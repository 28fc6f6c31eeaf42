"""A model may be one tenant's alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column; what was there before is everybody's."""
    op.add_column("model_versions", sa.Column("tenant", sa.String(), nullable=False, server_default=""))
