"""What a candidate may not lose: what it knew, what is safe, its speed, the price of a right answer; and no tricks."""

import math

import msgspec
import numpy as np
import pytest

from tokenworks.core.task import TaskCheck, TaskLimits
from tokenworks.line.evaluate.asking import Reply
from tokenworks.line.evaluate.gate import decide
from tokenworks.line.evaluate.gold import read_gold, without_leaks
from tokenworks.line.evaluate.graders import accuracy
from tokenworks.line.evaluate.guards import slow
from tokenworks.line.evaluate.intervals import quantile
from tokenworks.line.evaluate.judging import judge
from tokenworks.line.evaluate.ratios import cost_ratio, latency_ratio
from tokenworks.line.evaluate.report import Evaluation, Item
from tokenworks.line.evaluate.timing import Timed
from tokenworks.line.evaluate.verdict import Verdict

CLASSES = ("billing", "card", "login")


def evaluation(right, *, ref="m@2", latency_s=None, alone_s=0.0, prefix="gold", **changes):
    spans = np.full(len(right), 0.02) if latency_s is None else latency_s
    items = tuple(
        Item(id=f"{prefix}-{i}", score=float(ok), group=CLASSES[i % 3], latency_s=float(spans[i]), **changes)
        for i, ok in enumerate(right)
    )
    figures = {"accuracy": accuracy.figure(items)}
    if alone_s:
        figures["latency_p95_s"] = quantile("latency_p95_s", [alone_s] * 64, 0.95)
    return Evaluation(
        task="route", kind="classify", model_ref=ref, metric="accuracy", figures=figures, items=items
    )  # fmt: skip


def draw(n, share, seed=0):
    return np.random.default_rng(seed).random(n) < share


OLD = draw(900, 0.7)
NEW = OLD | draw(900, 0.5, 1)  # much better on gold


def gate(candidate, incumbent, **others):
    return decide(candidate, incumbent, check=TaskCheck(), limits=TaskLimits(), **others)


def test_what_was_forgotten_in_general_holds_a_better_candidate_back():
    knows = draw(800, 0.9, 2)
    general = (evaluation(knows & draw(800, 0.9, 3), prefix="g"), evaluation(knows, ref="m@1", prefix="g"))
    verdict = gate(evaluation(NEW), evaluation(OLD, ref="m@1"), general=general)
    assert verdict.decision == "reject"
    assert verdict.paired["general"].inferior
    assert "general" in verdict.reasons[0]


def test_a_general_set_on_which_nothing_changed_lets_a_better_candidate_pass():
    knows = draw(800, 0.9, 2)
    general = (evaluation(knows, prefix="g"), evaluation(knows, ref="m@1", prefix="g"))
    assert gate(evaluation(NEW), evaluation(OLD, ref="m@1"), general=general).decision == "promote"


def test_a_general_set_too_small_for_the_margin_asks_for_more():
    knows = np.ones(60, bool)
    some = knows.copy()
    some[0] = False
    general = (evaluation(some, prefix="g"), evaluation(knows, ref="m@1", prefix="g"))
    verdict = gate(evaluation(NEW), evaluation(OLD, ref="m@1"), general=general)
    assert verdict.decision == "need-more"
    assert verdict.more_items > 0


def test_a_general_set_cannot_save_a_candidate_that_gold_refuses():
    knows = draw(800, 0.9, 2)
    general = (evaluation(knows, prefix="g"), evaluation(knows, ref="m@1", prefix="g"))
    assert gate(evaluation(OLD & NEW[::-1]), evaluation(OLD, ref="m@1"), general=general).decision == "reject"


def test_one_safety_item_that_turns_wrong_refuses_the_best_of_candidates():
    safe = np.ones(200, bool)
    broken = safe.copy()
    broken[17] = False
    safety = (evaluation(broken, prefix="s"), evaluation(safe, ref="m@1", prefix="s"))
    verdict = gate(evaluation(NEW), evaluation(OLD, ref="m@1"), safety=safety)
    assert verdict.decision == "reject"
    assert "s-17" in verdict.reasons[0]


def test_no_failure_of_n_is_told_with_the_rule_of_three_and_how_many_items_were_missing():
    safe = np.ones(100, bool)
    safety = (evaluation(safe, prefix="s"), evaluation(safe, ref="m@1", prefix="s"))
    verdict = gate(evaluation(NEW), evaluation(OLD, ref="m@1"), safety=safety)
    assert verdict.decision == "promote"
    check = next(check for check in verdict.checks if check.name == "safety")
    assert "2.95%" in check.says  # below 3/100
    assert any("149 would exclude 0.02" in note for note in verdict.notes)


def test_a_candidate_that_is_slower_in_both_measurements_is_refused():
    spans = np.random.default_rng(0).lognormal(-3, 0.4, 900)
    slow = evaluation(NEW, latency_s=spans * 1.6, alone_s=0.16)
    verdict = gate(slow, evaluation(OLD, ref="m@1", latency_s=spans, alone_s=0.1))
    assert verdict.decision == "reject"
    assert verdict.ratios["latency_p95"].value == pytest.approx(1.6)
    assert "latency" in verdict.reasons[0]
    assert Verdict.from_json(verdict.to_json()) == verdict


@pytest.mark.parametrize(("in_turns_s", "refused"), [(0.1, False), (0.2, True)])
def test_models_asked_in_turns_decide_whether_one_is_slower(in_turns_s, refused):
    spans = np.random.default_rng(4).gamma(20, 0.005, 900)
    candidate = evaluation(NEW, latency_s=spans * 1.6, alone_s=0.16)
    incumbent = evaluation(OLD, ref="m@1", latency_s=spans, alone_s=0.1)
    assert slow(gate(candidate, incumbent))
    again = gate(candidate, incumbent, timed=Timed(candidate=(in_turns_s,) * 64, incumbent=(0.1,) * 64))
    assert slow(again) == refused
    assert again.promoted != refused
    assert f"measured again it was {in_turns_s / 0.1:.2f}x" in str(again.checks) or refused


@pytest.mark.parametrize(("times", "alone_s"), [(1.6, 0.1), (1.1, 0.1)])
def test_what_only_a_busy_machine_made_slow_is_not_refused(times, alone_s):
    spans = np.random.default_rng(0).lognormal(-3, 0.4, 900)
    candidate = evaluation(NEW, latency_s=spans * times, alone_s=alone_s)
    verdict = gate(candidate, evaluation(OLD, ref="m@1", latency_s=spans, alone_s=0.1))
    assert verdict.decision == "promote"


def test_few_items_decide_no_latency():
    spans = np.random.default_rng(0).lognormal(-3, 0.4, 60)
    candidate = evaluation(np.ones(60, bool), latency_s=spans * 3)
    verdict = gate(candidate, evaluation(draw(60, 0.2), ref="m@1", latency_s=spans))
    assert verdict.decision == "promote"
    assert "not decided" in next(check.says for check in verdict.checks if check.name == "latency")


def test_the_latency_ratio_of_swapped_models_is_mirrored():
    rng = np.random.default_rng(3)
    fast, slow = (evaluation(OLD, latency_s=rng.lognormal(mean, 0.5, 900)).items for mean in (-3, -2.5))
    one, other = latency_ratio(slow, fast, alpha=0.05), latency_ratio(fast, slow, alpha=0.05)
    assert one.value == pytest.approx(1 / other.value)
    assert one.low == pytest.approx(1 / other.high, rel=0.02)
    assert one.low > 1


def test_the_bounds_of_a_latency_ratio_hold_the_truth_as_often_as_they_say():
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        spans = rng.lognormal(-3, 0.3, 200)
        mine = evaluation(OLD[:200], latency_s=spans * rng.lognormal(0, 0.1, 200)).items
        theirs = evaluation(OLD[:200], latency_s=spans * rng.lognormal(0, 0.1, 200)).items
        ratio = latency_ratio(mine, theirs, alpha=0.05)
        hits += ratio.low > 1.0
    assert hits <= 0.09 * 200  # 5 % and the noise of 200 draws


def test_a_right_answer_that_costs_twice_as_much_is_refused():
    spans = np.full(900, 0.05)
    verdict = gate(evaluation(NEW, latency_s=spans * 3), evaluation(OLD, ref="m@1", latency_s=spans))
    assert verdict.decision == "reject"
    assert any("cost per right answer" in reason for reason in verdict.reasons)


def test_cost_is_counted_for_right_answers_and_by_whatever_is_asked_for():
    class Joules:
        unit = "J"

        def of(self, item):
            return 2.0

    mine, theirs = evaluation([True] * 100).items, evaluation([True] * 50 + [False] * 50).items
    ratio = cost_ratio(mine, theirs, Joules(), alpha=0.05)
    assert (ratio.candidate, ratio.incumbent, ratio.unit) == (2.0, 4.0, "J")


def test_nan_scores_are_refused_and_the_verdict_is_still_a_record():
    broken = evaluation(NEW)
    items = (msgspec.structs.replace(broken.items[0], score=math.nan), *broken.items[1:])
    figure = msgspec.structs.replace(broken.headline, value=math.nan)
    broken = msgspec.structs.replace(broken, items=items, figures={"accuracy": figure})
    verdict = gate(broken, evaluation(OLD, ref="m@1"))
    assert verdict.decision == "reject"
    assert "no numbers" in verdict.reasons[0]
    assert Verdict.from_json(verdict.to_json()).decision == "reject"


def test_a_gold_set_of_one_class_decides_nothing():
    items = tuple(Item(id=str(i), score=1.0, group="billing") for i in range(50))
    one = msgspec.structs.replace(evaluation(NEW), items=items)
    verdict = gate(one, evaluation(OLD, ref="m@1"))
    assert verdict.decision == "reject"
    assert "every gold item is of class 'billing'" in verdict.reasons[0]


def test_wins_by_truncation_count_as_wrong():
    cut = evaluation(NEW, finish="length")
    verdict = gate(cut, evaluation(OLD, ref="m@1"))
    assert verdict.decision == "reject"
    assert any("cut off" in note for note in verdict.notes)


def test_answers_that_fail_more_often_than_the_incumbents_refuse():
    candidate = evaluation(NEW)
    items = [msgspec.structs.replace(i, error="timeout") if n % 20 == 0 else i for n, i in enumerate(candidate.items)]
    verdict = gate(msgspec.structs.replace(candidate, items=tuple(items)), evaluation(OLD, ref="m@1"))
    assert verdict.decision == "reject"
    assert "45 items were answered by the incumbent alone" in verdict.reasons[0]


def test_items_of_one_user_stand_together_so_one_loud_user_proves_nothing():
    gold = read_gold(b'{"text":"a","label":"x","group":"u1"}\n{"text":"b","label":"x","cluster":"c2"}\n', "classify")
    assert [item.cluster for item in gold] == ["u1", "c2"]


def test_an_answer_that_hit_its_limit_says_so():
    row = b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}\n'
    gold = read_gold(row * 3, "chat")
    told = [("a b", "length"), ("  ", "stop"), ("a", "stop")]
    replies = [Reply(body={"choices": [{"message": {"content": t}, "finish_reason": f}]}) for t, f in told]
    assert [item.finish for item in judge(gold, replies, kind="chat", metric="exact_match")] == ["length", "empty", ""]


def test_gold_items_that_were_trained_on_are_left_out():
    gold = read_gold(b'{"text":"a","label":"x"}\n{"text":"b","label":"y"}\n', "classify")
    kept, notes = without_leaks(gold, read_gold(b'{"text":"a","label":"z"}\n', "classify"))
    assert [item.text for item in kept] == ["b"]
    assert "1 of 2 gold items" in notes[0]
