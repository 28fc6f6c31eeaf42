"""Which of several answers of one model counts: the majority's (self-consistency, Wang 2022)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from tokenworks.core.ids import canonical_json
from tokenworks.line.grading import MARK, final_number


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """The answer that counts, and the share of the answers that agree with it."""

    answer: str
    share: float


def vote(answers: Sequence[str], *, kind: str) -> Vote:
    """Return the first answer of the largest group; answers agree by their final number, JSON value, or plain text.

    A tie goes to the group that was begun first, so that equal answers give an equal vote.
    """
    keys = [_key(answer, kind) for answer in answers]
    (key, count) = Counter(keys).most_common(1)[0]
    return Vote(answer=answers[keys.index(key)], share=count / len(answers))


def _key(answer: str, kind: str) -> str:
    if kind == "extract":
        try:
            return canonical_json(msgspec.json.decode(answer)).decode()
        except (msgspec.DecodeError, UnicodeEncodeError):
            return answer
    if MARK in answer and (number := final_number(answer)) is not None:
        return f"{MARK} {number.normalize()}"
    return " ".join(answer.split()).casefold()
