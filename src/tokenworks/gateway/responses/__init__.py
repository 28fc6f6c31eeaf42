"""OpenAI's /v1/responses: a chat that is remembered, in other words."""
