"""What happened: an append-only log with RFC 6962 hashes, and how to read, verify and sum it."""
