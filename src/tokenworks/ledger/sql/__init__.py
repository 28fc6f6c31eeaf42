"""The log as tables: folded, queried, exported. Dropped and made again, the tables hold the same rows."""
