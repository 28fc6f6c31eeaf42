"""Claims: what is missing, what counts as confirmed, and what explains a gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import ConfigError
from tokenworks.planning.claims.claim import Claim, Conditions, Figures, Rule, Run, read_claim
from tokenworks.planning.claims.explain import explain
from tokenworks.planning.claims.judge import Known, enough, interval, judge, overall
from tokenworks.planning.claims.letter import made_of, markdown
from tokenworks.planning.tables import read_tables

STATED = {"model": "llama-3.1-8b", "concurrency": 16, "prompt_tokens": 500, "answer_tokens": 200}


def claim(figures=None, run=None, rule=None, **stated):
    return Claim(
        name="n",
        claim=Figures(**(figures or {"tokens_per_s": 100})),
        conditions=Conditions(**STATED | stated),
        run=Run(address="http://127.0.0.1:1", **(run or {})),
        rule=rule or Rule(),
    )


def verdict(values, **changes):
    (one,) = judge({"tokens_per_s": values}, claim(**changes), {})
    return one.verdict


def test_a_claim_is_confirmed_when_all_of_the_interval_reaches_it():
    assert verdict([101, 102, 103, 104]) == "confirmed"


def test_a_claim_is_not_confirmed_when_none_of_the_interval_reaches_it():
    assert verdict([80, 81, 82, 83]) == "not confirmed"


def test_an_interval_that_contains_the_bar_confirms_nothing_and_says_so():
    (one,) = judge({"tokens_per_s": [60, 140, 95, 100]}, claim(), {})
    assert one.verdict == "not confirmed"
    assert "undecided" in one.because


def test_for_a_latency_less_is_better():
    figures = {"ttft_p95_s": 1.0}
    assert judge({"ttft_p95_s": [0.5, 0.51, 0.52]}, claim(figures), {})[0].verdict == "confirmed"
    assert judge({"ttft_p95_s": [1.5, 1.51, 1.52]}, claim(figures), {})[0].verdict == "not confirmed"


def test_a_run_under_other_conditions_is_not_comparable_and_names_them():
    (one,) = judge({"tokens_per_s": [500, 501]}, claim(run={"concurrency": 4, "machine": "l4"}, machine="h100"), {})
    assert one.verdict == "not comparable"
    assert one.because == "the run differs in machine, concurrency"


def test_lengths_within_a_tenth_are_the_same():
    assert verdict([101, 102, 103], run={"prompt_tokens": 540}) == "confirmed"
    assert verdict([101, 102, 103], run={"prompt_tokens": 600}) == "not comparable"


def test_a_figure_without_a_meter_is_not_comparable():
    (one,) = judge({}, claim({"joules_per_token": 1.0}), {"joules_per_token": "no meter"})
    assert (one.verdict, one.because) == ("not comparable", "no meter")


def joules(values, error):
    known = {"joules_per_token": Known(error, "by a meter")}
    (one,) = judge({"joules_per_token": values}, claim({"joules_per_token": 1.0}), {}, known)
    return one


def test_a_meters_uncertainty_widens_the_interval_and_no_number_of_rounds_lessens_it():
    plain, rough = joules([0.8, 0.81] * 10, 0.0), joules([0.8, 0.81] * 10, 0.2)
    assert (plain.verdict, rough.verdict) == ("confirmed", "not confirmed")
    assert rough.measured.high - rough.measured.mean == pytest.approx(1.96 * 0.2 * 0.805, rel=0.01)
    assert "undecided, the 95 % interval contains the bar: allow a better meter; by a meter" in rough.because
    assert joules([0.8, 0.81] * 10, 0.05).verdict == "confirmed"


def test_where_rounds_differ_more_than_the_meter_errs_more_rounds_are_asked_for():
    assert "allow more rounds; by a meter" in joules([0.5, 1.4, 0.9], 0.05).because


def test_one_figure_that_fails_fails_the_claim():
    judged = judge(
        {"tokens_per_s": [101, 102, 103], "ttft_p95_s": [2.0, 2.1, 2.0]},
        claim({"tokens_per_s": 100, "ttft_p95_s": 1}),
        {},
    )
    assert overall(judged) == "not confirmed"


@settings(deadline=None)
@given(st.integers(2, 25), st.integers(0, 1000))
def test_the_interval_contains_the_true_mean_about_as_often_as_it_says(count, seed):
    values = np.random.default_rng(seed).normal(10, 1, (400, count))
    inside = [one.low <= 10 <= one.high for one in map(interval, values.tolist())]
    assert 0.90 <= np.mean(inside) <= 0.99


def test_measuring_goes_on_until_the_interval_is_tight_or_rounds_are_spent():
    tight, wide = [100.0, 101.0, 100.0, 101.0], [50.0, 150.0, 100.0, 100.0]
    assert not enough({}, claim())
    assert not enough({"tokens_per_s": tight[:3]}, claim())
    assert enough({"tokens_per_s": tight}, claim())
    assert not enough({"tokens_per_s": wide}, claim())
    assert enough({"tokens_per_s": wide}, claim(rule=Rule(rounds=(2, 4))))


def test_the_gap_of_other_conditions_is_told_in_tokens_per_second():
    one = claim(machine="h100", precision="fp8", run={"machine": "l4", "concurrency": 4})
    text = explain(one, judge({"tokens_per_s": [30, 31]}, one, {}), read_tables())
    assert text[0].startswith("machine: stated h100, here l4; alone it makes 0.")
    assert text[1].startswith("concurrency: stated 16, here 4; alone it makes 0.")
    assert "Brought to the conditions here the claim would be" in text[3]


def test_without_a_known_machine_nothing_is_predicted():
    assert "tables lack" in explain(claim(), [], read_tables())[-1]


def test_the_report_has_both_sides_of_every_condition():
    one = claim(machine="h100", run={"machine": "l4"})
    judged = judge({"tokens_per_s": [30, 31]}, one, {})
    page = markdown(made_of(one, judged, ["why"], asked=4, seconds=2, lengths=(500, 200), at="today"))
    assert page.startswith("# n: not comparable")
    assert "| machine | h100 | l4 (differs) |" in page
    assert "| precision | not stated | not said |" in page


GOOD = """
name = "n"
[claim]
tokens_per_s = 10
[conditions]
model = "m"
concurrency = 1
prompt_tokens = 1
answer_tokens = 1
[run]
address = "http://127.0.0.1:1"
"""


def test_a_whole_claim_is_read(tmp_path):
    (tmp_path / "c.toml").write_text(GOOD)
    assert read_claim(tmp_path / "c.toml").claim.claimed == {"tokens_per_s": 10}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "concurrency = 1\nprompt_tokens = 1\n",
            "",
            r"\[conditions\] lacks concurrency, prompt_tokens; a figure without",
        ),
        ("tokens_per_s = 10", "", r"\[claim\] has no figure"),
        ("tokens_per_s = 10", "tokens_per_s = -1", "tokens_per_s"),
        ("tokens_per_s = 10", "ttft_p95_s = inf", "ttft_p95_s: Expected `float` <="),
        ("tokens_per_s = 10", "tokens_per_s = nan", "tokens_per_s: Expected `float` > 0"),
        ("[run]", "[rule]\nrequests_per_round = -4\n[run]", "requests_per_round: Expected `int` >= 0"),
        ("[run]", "[rule]\nmost_s = inf\n[run]", "most_s: Expected `float` <="),
        ("tokens_per_s = 10", "tokens_per_second = 10", "did you mean 'tokens_per_s'"),
        ('address = "http://127.0.0.1:1"', "", "needs either an address to ask or the folder"),
        ("[run]", "[rule]\nrounds = [5, 3]\n[run]", "the least, 2 or more, and the most"),
    ],
)
def test_a_claim_that_cannot_be_tried_says_what_is_missing(tmp_path, old, new, said):
    (tmp_path / "c.toml").write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=said):
        read_claim(tmp_path / "c.toml")
