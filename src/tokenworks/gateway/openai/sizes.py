"""How many tokens a request can come to, known before any engine has seen it."""

from __future__ import annotations

from typing import Any

from tokenworks.gateway.openai.asked import Size
from tokenworks.gateway.openai.fields import ChatBody, CompletionBody, EmbeddingBody, ModelBody

COMPLETION_TOKENS = 16  # what OpenAI, vLLM and our engines write where a completion does not say how much
TEMPLATE_TOKENS = 64  # what a chat template adds besides what JSON adds for the same message
MARKS = 2  # tokens that a tokenizer sets around a text
BYTES_PER_TOKEN = 4  # of English text, as OpenAI's guides reckon; for rates, and for what a server elsewhere keeps back


def size_of(parsed: ModelBody, body: bytes) -> Size:
    """Return the size of a request as its fields say. Exact for prompts given as token ids."""
    if isinstance(parsed, ChatBody):
        most = parsed.max_completion_tokens or parsed.max_tokens
        whole = len(body) + TEMPLATE_TOKENS
        return Size(prompt_most=whole, prompt_likely=_likely(len(body)), answers=parsed.n or 1, answer_most=most)
    if isinstance(parsed, CompletionBody):
        prompts, exact = _prompts(parsed.prompt)
        each = max(parsed.n or 1, parsed.best_of or 1)
        most = COMPLETION_TOKENS if parsed.max_tokens is None else parsed.max_tokens
        bound = _bytes(parsed.prompt) + MARKS * prompts if exact is None else exact
        bound += len(parsed.suffix.encode()) if parsed.suffix else 0
        likely = _likely(bound) if exact is None else exact
        return Size(prompt_most=bound, prompt_likely=likely, answers=prompts * each, answer_most=most)
    if isinstance(parsed, EmbeddingBody):
        _, exact = _prompts(parsed.input)
        if exact is not None:
            return Size(prompt_most=exact, prompt_likely=exact)
    return Size(prompt_most=len(body), prompt_likely=_likely(len(body)))


def _prompts(given: Any) -> tuple[int, int | None]:
    """Return how many prompts there are, and their tokens where they are given as such."""
    if isinstance(given, str):
        return 1, None
    if all(isinstance(part, int) for part in given):
        return 1, len(given)
    if all(isinstance(part, list) for part in given):
        return len(given), sum(map(len, given))
    return len(given), None


def _bytes(texts: Any) -> int:
    """Return the UTF-8 bytes of a text or of several; a token id among them counts as one."""
    return sum(
        len(part.encode()) if isinstance(part, str) else 1 for part in ([texts] if isinstance(texts, str) else texts)
    )


def _likely(size_bytes: int) -> int:
    return size_bytes // BYTES_PER_TOKEN + 1
