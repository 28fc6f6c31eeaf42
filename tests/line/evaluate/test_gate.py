"""The gate: what is promoted, what is refused and why, and how often it errs."""

import numpy as np
import pytest

from tokenworks.core.task import TaskCheck, TaskLimits
from tokenworks.line.evaluate.gate import decide
from tokenworks.line.evaluate.graders import accuracy, macro_f1
from tokenworks.line.evaluate.intervals import quantile
from tokenworks.line.evaluate.judging import per_class
from tokenworks.line.evaluate.paired import items_needed
from tokenworks.line.evaluate.report import Evaluation, Item
from tokenworks.line.evaluate.verdict import Verdict

METRICS = {"accuracy": accuracy, "macro_f1": macro_f1}
CLASSES = ("billing", "card", "login")


def evaluation(right, *, ref="m@2", metric="accuracy", baselines=None, latency_s=0.02, prefix="gold"):
    items = tuple(
        Item(id=f"{prefix}-{i}", score=float(ok), group=CLASSES[i % 3], predicted=CLASSES[(i + (not ok)) % 3])
        for i, ok in enumerate(right)
    )
    figures = {metric: METRICS[metric].figure(items)}
    figures["latency_p95_s"] = quantile("latency_p95_s", [latency_s] * 64, 0.95)
    return Evaluation(
        task="route", kind="classify", model_ref=ref, metric=metric, figures=figures, per_class=per_class(items),
        items=items, baselines=baselines or {},
    )  # fmt: skip


def draw(n, accuracy, seed=0):
    return np.random.default_rng(seed).random(n) < accuracy


def gate(candidate, incumbent=None, *, fresh=None, limits=None, **check):
    return decide(candidate, incumbent, check=TaskCheck(**check), limits=limits or TaskLimits(), fresh=fresh)


def improved(right, share, seed=1):
    return right | (draw(len(right), share, seed))


def test_a_better_model_is_promoted_and_tells_its_evidence():
    old = draw(1000, 0.8)
    verdict = gate(evaluation(improved(old, 0.3)), evaluation(old, ref="m@1"))
    assert verdict.decision == "promote"
    assert verdict.against == "m@1"
    assert verdict.paired["gold"].low > 0
    story = "\n".join(verdict.story())
    assert "PROMOTE" in story
    assert "m@1" in story
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_shuffled_labels_are_refused():
    old = draw(600, 0.9)
    sabotaged = evaluation(draw(600, 1 / 3, seed=9))
    verdict = gate(sabotaged, evaluation(old, ref="m@1"), floor={"overall": 0.8})
    assert verdict.decision == "reject"
    assert any("worse" in reason for reason in verdict.reasons)
    assert any("floor overall" in reason for reason in verdict.reasons)


def test_a_sabotaged_candidate_is_refused_even_where_it_shines_on_fresh_items():
    old = draw(600, 0.9)
    fresh = (evaluation([True] * 40, prefix="fresh"), evaluation([False] * 40, ref="m@1", prefix="fresh"))
    verdict = gate(evaluation(draw(600, 0.4, seed=9)), evaluation(old, ref="m@1"), fresh=fresh)
    assert verdict.decision == "reject"


def test_a_gain_too_small_for_gold_or_fresh_items_alone_is_seen_on_both_together():
    old, fresh_old = [True] * 400 + [False] * 100, [True] * 320 + [False] * 80
    new, fresh_new = [True] * 404 + [False] * 96, [True] * 324 + [False] * 76
    gold = evaluation(new), evaluation(old, ref="m@1")
    fresh = evaluation(fresh_new), evaluation(fresh_old, ref="m@1")  # of the same ids: they are other items
    alone = gate(*gold), gate(*fresh)
    assert [one.paired["gold"].wins for one in alone] == [4, 4]
    assert not alone[0].promoted
    assert not alone[1].promoted
    both = gate(*gold, fresh=fresh)
    assert both.promoted
    assert both.paired["gold and fresh"].n == 900
    assert both.reasons[0].startswith("it is better on the gold and fresh items by +0.0089")


def test_an_equal_model_on_gold_is_promoted_for_what_it_learnt_from_feedback():
    old = draw(1600, 0.9)
    fresh = (
        evaluation(draw(40, 0.8, 3), prefix="fresh"),
        evaluation(draw(40, 0.1, 4), ref="m@1", prefix="fresh"),
    )
    verdict = gate(evaluation(old), evaluation(old, ref="m@1"), fresh=fresh)
    assert verdict.decision == "promote"
    assert "fresh" in verdict.reasons[0]


def test_an_equal_model_without_any_gain_is_not_promoted():
    old = draw(2000, 0.9)
    verdict = gate(evaluation(old), evaluation(old, ref="m@1"))
    assert verdict.decision == "reject"
    assert "no improvement" in verdict.reasons[0]


def test_too_few_items_are_told_how_many_more_would_decide():
    old = draw(120, 0.9)
    new = old.copy()
    new[[3, 30, 60]] = True
    new[[4, 40]] = False
    wins, losses = int((new & ~old).sum()), int((old & ~new).sum())
    verdict = gate(evaluation(new), evaluation(old, ref="m@1"))
    assert verdict.decision == "need-more"
    assert verdict.more_items == items_needed(0.02, (wins + losses) / 120) - 120
    assert f"needs {verdict.more_items:,} more items to decide a margin of 0.02" in verdict.reasons[0]


def test_a_class_below_its_floor_refuses_a_model_that_wins_overall():
    old = draw(900, 0.7)
    new = improved(old, 0.6)
    new[0::3][:200] = False
    verdict = gate(evaluation(new), evaluation(old, ref="m@1"), floor={"class:billing": 0.6, "class:card": 0.6})
    assert verdict.decision == "reject"
    assert next(check.name for check in verdict.checks if not check.holds) == "floor class:billing"


def test_a_floor_for_a_class_that_gold_does_not_have_names_the_nearest():
    verdict = gate(evaluation(draw(100, 0.9)), evaluation(draw(100, 0.5)), floor={"class:biling": 0.5})
    assert verdict.decision == "reject"
    assert "'class:billing'" in verdict.reasons[0]


@pytest.mark.parametrize(("latency_s", "decision"), [(0.1, "promote"), (0.4, "reject")])
def test_the_latency_limit_holds(latency_s, decision):
    old = draw(1000, 0.6)
    candidate = evaluation(improved(old, 0.5), latency_s=latency_s)
    assert gate(candidate, evaluation(old), limits=TaskLimits(p95_ms=300)).decision == decision


def test_a_limit_that_nobody_measured_refuses_latency_and_notes_the_rest():
    old = draw(1000, 0.6)
    candidate = evaluation(improved(old, 0.5))
    del candidate.figures["latency_p95_s"]
    limits = TaskLimits(p95_ms=300, joules_per_answer=5)
    verdict = gate(candidate, evaluation(old), limits=limits)
    assert "not measured" in verdict.reasons[0]
    assert any("joules_per_answer" in note for note in verdict.notes)


def test_a_first_model_must_beat_its_best_baseline():
    weak, strong = draw(500, 0.3, 5), draw(500, 0.8, 6)
    baselines = {"majority": evaluation(weak), "logistic_regression": evaluation(strong)}
    better = gate(evaluation(improved(strong, 0.5), baselines=baselines))
    assert better.decision == "promote"
    assert better.against == "baseline:logistic_regression"
    between = gate(evaluation(improved(weak, 0.3), baselines=baselines))
    assert between.decision == "reject"


def test_a_first_model_without_baseline_needs_a_floor():
    assert gate(evaluation([True] * 20)).decision == "reject"
    assert gate(evaluation([True] * 20), floor={"overall": 0.9}).decision == "promote"
    assert gate(evaluation([False] * 20), floor={"overall": 0.9}).decision == "reject"


def test_reports_without_a_common_item_cannot_be_compared():
    verdict = gate(evaluation([True] * 50), evaluation([False] * 50, prefix="other"))
    assert verdict.decision == "reject"
    assert "no item in common" in verdict.reasons[0]


def test_reports_by_different_metrics_cannot_be_compared():
    verdict = gate(evaluation([True] * 50), evaluation([False] * 50, metric="macro_f1"))
    assert verdict.decision == "reject"
    assert "macro_f1" in verdict.reasons[0]


def test_a_margin_of_zero_is_decided_by_superiority_alone():
    old = draw(800, 0.8)
    assert gate(evaluation(improved(old, 0.5)), evaluation(old), margin=0.0).decision == "promote"
    assert gate(evaluation(old), evaluation(old), margin=0.0).decision == "reject"


@pytest.mark.parametrize(("n", "with_fresh"), [(80, True), (400, False)])
def test_equal_models_are_promoted_no_more_often_than_alpha(n, with_fresh):
    rng = np.random.default_rng(n + with_fresh)
    rounds, promoted = 100, 0
    for _ in range(rounds):
        fresh = None
        if with_fresh:
            sides = rng.random((2, 60)) < 0.5
            fresh = (evaluation(sides[0], prefix="f"), evaluation(sides[1], prefix="f"))
        hard = rng.random(n)
        one, other = (hard + rng.normal(0, 0.03, n) < 0.85 for _ in range(2))
        promoted += gate(evaluation(one), evaluation(other), fresh=fresh, margin=0.05).promoted
    assert promoted / rounds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
