"""What an evaluation found: figures with their intervals, and every item's score, so that gates can pair them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.ids import canonical_json

QUADRATIC = "quadratic"  # part of an item: the score of a class named with its probability
COMPRESSOR = "compressor"  # the kind of a baseline that only measures


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One gold item with its score. No text of prompt or answer is kept: only what figures are computed from."""

    id: str
    score: float
    group: str = ""  # the gold class
    predicted: str = ""  # the class answered
    cluster: str = ""  # conversation or user, where items belong together
    weight: float = 1.0  # bytes, for bits per byte
    parts: dict[str, float] = {}  # further scores of the same answer: 'fields', 'valid', ...
    latency_s: float = 0.0
    ttft_s: float = 0.0
    tokens: int = 0
    error: str = ""  # why there was no answer; such an item counts as wrong
    finish: str = ""  # how the answer ended where it is not whole: 'length' (cut off at max_tokens) or 'empty'


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A number that can be recomputed: its value, 95 % interval, how many items it rests on, and the method."""

    name: str
    value: float
    low: float
    high: float
    n: int
    method: str

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n})"


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One model, or one baseline, judged on one gold set."""

    task: str
    kind: str
    model_ref: str
    metric: str
    figures: dict[str, Figure]
    per_class: dict[str, Figure] = {}  # keys 'class:NAME'
    items: tuple[Item, ...] = ()
    baselines: dict[str, Evaluation] = {}
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> Figure:
        """The figure that the gate decides on."""
        return self.figures[self.metric]

    def to_json(self) -> bytes:
        """Return the report as canonical JSON."""
        return canonical_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Evaluation:
        """Return the report in `data`; raise `DataError` where it is none."""
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.DecodeError as error:
            raise DataError(f"not an evaluation report: {error}; evaluate the model again") from None

    def best_baseline(self, better: str = "higher") -> tuple[str, Evaluation] | None:
        """Return name and report of the best baseline that could take the model's place, or None without any.

        A compressor is shown beside a language model, but cannot stand in for it: it gives no answer.
        """
        sign = 1.0 if better == "higher" else -1.0
        rivals = [(name, one) for name, one in self.baselines.items() if one.kind != COMPRESSOR]
        ranked = sorted(rivals, key=lambda pair: (-sign * pair[1].headline.value, pair[0]))
        return ranked[0] if ranked else None


def paired_items(one: Sequence[Item], other: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """Return the items that both have, by id and in the order of `one`."""
    there = {item.id: item for item in other}
    shared = [item for item in one if item.id in there]
    return shared, [there[item.id] for item in shared]
