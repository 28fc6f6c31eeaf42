"""Pairs of answers to the same prompt, one preferred: read from JSONL and checked line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from tokenworks.core.errors import DataError
from tokenworks.line.train._chat_tokens import Sample, sample
from tokenworks.line.train._conversations import Conversation, Message, prompt_of
from tokenworks.line.train._lines import read_lines

SHAPE = '{"messages": [{"role": "user", "content": "..."}], "chosen": "...", "rejected": "..."}'


class Preference(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt with the answer that was preferred and the one that was not."""

    messages: Conversation
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Pair:
    """A preference as tokens; only the answers are trained."""

    chosen: Sample
    rejected: Sample

    @property
    def shape(self) -> Sample:
        """Both answers as one sample: for batches by size."""
        return Sample(
            np.concatenate([self.chosen.ids, self.rejected.ids]),
            np.concatenate([self.chosen.trained, self.rejected.trained]),
        )


@dataclass(frozen=True)
class Pairs:
    """All pairs that fit, and how many did not."""

    pairs: list[Pair]
    skipped: int


def read_preferences(data: bytes) -> list[Preference]:
    """Return the pairs of JSONL `data`; raise `DataError` naming the first bad lines and the way out."""
    return read_lines(data, _preference, what="preference pairs", shape=SHAPE)


def tokenize_pairs(preferences: list[Preference], tokenizer: Any, *, max_length: int) -> Pairs:
    """Return pairs of at most `max_length` tokens each; a longer one is skipped, never cut.

    Two answers cut at the same place may be equal, and then say nothing, or differ by length alone.
    """
    pairs = []
    for preference in preferences:
        chosen, rejected = (
            sample((*preference.messages, Message(role="assistant", content=answer)), tokenizer)
            for answer in (preference.chosen, preference.rejected)
        )
        if max(len(chosen.ids), len(rejected.ids)) <= max_length:
            pairs.append(Pair(chosen, rejected))
    if not pairs:
        raise DataError(
            f"none of {len(preferences)} preference pairs fits into {max_length} tokens: shorten them, or take a base "
            "with a longer context"
        )
    return Pairs(pairs, len(preferences) - len(pairs))


def _preference(line: bytes) -> Preference:
    try:
        row = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"not a JSON object ({error}); one on each line: {SHAPE}") from None
    messages = prompt_of(row)
    answers = {}
    for name in ("chosen", "rejected"):
        value = row.get(name)
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f'"{name}" is {"empty" if value == "" else repr(value)[:60]}; it must be the answer as text'
            )
        answers[name] = value
    if answers["chosen"].strip() == answers["rejected"].strip():
        raise DataError('"chosen" and "rejected" are the same answer, which prefers nothing; leave the pair out')
    return Preference(messages=messages, **answers)
