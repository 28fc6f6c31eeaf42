"""What exists: the catalog (SQL) and the artifacts (bytes by content hash)."""
