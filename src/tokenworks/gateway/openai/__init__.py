"""The OpenAI wire: bodies, streams, paths."""
