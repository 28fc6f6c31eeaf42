"""Sources to documents: read, normalise, describe."""
