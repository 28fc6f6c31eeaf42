"""Anthropic's wire form in front of the same stack as OpenAI's."""
