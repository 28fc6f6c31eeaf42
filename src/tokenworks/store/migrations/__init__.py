"""How the catalog came to its present form, step by step (Alembic)."""
