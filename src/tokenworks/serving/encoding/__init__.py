"""Encoder forwards without torch: token ids to unit sentence embeddings. Knows folders and arrays, not requests."""
