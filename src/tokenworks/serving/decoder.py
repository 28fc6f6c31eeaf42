"""What engines in this process that generate text have in common: the model's tokens, its template, and what it lacks.

Knows no library that computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenworks.core.errors import EngineError
from tokenworks.metering.attribution.account import Work
from tokenworks.serving.engine import Text, Vectors
from tokenworks.serving.folder import ModelFolder
from tokenworks.serving.template import ChatTemplate
from tokenworks.serving.tokens import Tokens


class Decoder:
    """A model that continues text. How, its engine says."""

    does: frozenset[str]

    def __init__(self, model: ModelFolder, tokens: Tokens) -> None:
        self.does = frozenset({"completions", "chat.completions"} if model.chat_template else {"completions"})
        self.context_length = model.context_length
        self.classes: list[str] = []
        self._model, self._tokens = model, tokens
        self._template = ChatTemplate(model.chat_template, model.tokenizer_config) if model.chat_template else None

    def chat_prompt(self, messages: Sequence[dict[str, Any]]) -> str:
        """Return the prompt that the model's own chat template makes of `messages`."""
        if self._template is None:
            raise EngineError(f"{self._model.path} has no chat template; ask /v1/completions, or serve a chat model")
        return self._template.render(messages)

    def count_tokens(self, text: str) -> int:
        """Return how many tokens `text` has."""
        return len(self._tokens.encode(text))

    async def embed(self, texts: Sequence[Text], *, work: Work | None = None) -> Vectors:
        """Refuse: a decoder has no sentence vectors."""
        raise EngineError("this model generates text; ask an encoder for embeddings")

    async def classify(self, texts: Sequence[str], *, work: Work | None = None) -> Vectors:
        """Refuse: a decoder has no classes."""
        raise EngineError("this model generates text; ask a classifier for classes")
