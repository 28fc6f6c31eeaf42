"""The baselines of a task, judged on the very items that the model was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tokenworks import parts
from tokenworks.core.errors import DataError
from tokenworks.line.evaluate.baselines import majority
from tokenworks.line.evaluate.gold import Gold, read_gold
from tokenworks.line.evaluate.grade import grader_named
from tokenworks.line.evaluate.judging import figures_of, per_class
from tokenworks.line.evaluate.params import EvaluateParams
from tokenworks.line.evaluate.report import Evaluation, Item
from tokenworks.line.grading import MARK, final_number

ROOM = "tokenworks.line.evaluate.baselines"


def baselines(train: bytes, gold: Sequence[Gold], params: EvaluateParams) -> dict[str, Evaluation]:
    """Return the report of each baseline that applies: classifiers for classes, the most frequent answer for text."""
    rows = read_gold(train, params.kind, name="train")
    if params.kind == "classify":
        texts, labels = [row.text for row in rows], [str(row.row["label"]) for row in rows]
        asked = [want.text for want in gold]
        modules = {name: parts.load(ROOM, name) for name in parts.names(ROOM)}
        answers = {
            name: module.predict(texts, labels, asked) for name, module in modules.items() if hasattr(module, "predict")
        }
    else:
        given = [_short(str(row.row["answer"])) for row in rows]
        answers = {"majority": majority.predict([], given, [want.id for want in gold])}
    return {name: report(name, gold, given, params) for name, given in answers.items()}


def report(name: str, gold: Sequence[Gold], answers: Sequence[object], params: EvaluateParams) -> Evaluation:
    """Return the evaluation of one baseline's `answers`."""
    if len(answers) != len(gold):
        raise DataError(f"baseline {name!r} gave {len(answers)} answers to {len(gold)} items")
    grader = grader_named(params.metric)
    items = []
    for want, answer in zip(gold, answers, strict=True):
        fields: Mapping[str, object] = msgspec.structs.asdict(grader.grade(want.row, answer))
        items.append(msgspec.convert({"id": want.id, "cluster": want.cluster, **fields}, Item))
    return Evaluation(
        task=params.task, kind=params.kind, model_ref=f"baseline:{name}", metric=params.metric,
        figures=figures_of(items, kind=params.kind, metric=params.metric),
        per_class=per_class(items) if params.kind == "classify" else {}, items=tuple(items),
    )  # fmt: skip


def _short(answer: str) -> str:
    """Return the part of a gold answer that exact match looks at."""
    return f"{MARK} {final_number(answer)}" if MARK in answer else answer
