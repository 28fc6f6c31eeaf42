"""The OpenAI wire form around an engine: request bodies in, response bodies out; knows no socket and no engine."""
