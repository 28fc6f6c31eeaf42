"""Run migrations on the connection that `open_catalog` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from tokenworks.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
context.run_migrations()
