"""Prompts of chosen lengths for measuring, each from another place of a text: no cache of prefixes helps."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokenworks.factory.planning.asking import Question
from tokenworks.planning.trace import Trace


class Words:
    """Questions for a model whose tokenizer lies in `folder`."""

    def __init__(self, folder: Path, seed: int) -> None:
        from pydoc_data.topics import topics  # a long text that every Python has

        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._ids = self._tokenizer.encode("\n".join(topics.values()), add_special_tokens=False).ids
        self._random = random.Random(seed)

    def questions(self, prompts: Sequence[int], answers: Sequence[int]) -> list[Question]:
        """Return a question for each pair of lengths, all due at once."""
        return self.trace(Trace(np.zeros(len(prompts)), np.array(prompts), np.array(answers)))

    def trace(self, trace: Trace) -> list[Question]:
        """Return the questions of `trace`."""
        rows = zip(trace.arrival_s.tolist(), trace.prompt.tolist(), trace.answer.tolist(), strict=True)
        return [Question(at_s=at, prompt=self._text(prompt), answer_tokens=answer) for at, prompt, answer in rows]

    def now_and_then(self, count: int, gap_s: float, prompt: int, answer: int) -> list[Question]:
        """Return questions of one length that come `gap_s` apart on average, never in step with anything."""
        gaps = [gap_s * self._random.uniform(0.5, 1.5) for _ in range(count)]
        return self.trace(Trace(np.cumsum(gaps), np.full(count, prompt), np.full(count, answer)))

    def _text(self, tokens: int) -> str:
        begin = self._random.randrange(max(len(self._ids) - tokens, 1))
        return str(self._tokenizer.decode(self._ids[begin : begin + tokens]))
