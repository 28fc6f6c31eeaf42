"""A trial on simulated users: how often it errs, how soon it sees harm, and what it makes of odd traffic."""

import msgspec
import numpy as np
import pytest

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.model import Release
from tokenworks.core.task import TaskCanary
from tokenworks.flywheel.trial.plan import plan_trial
from tokenworks.flywheel.trial.terms import Terms, slow_threshold, terms_of
from tokenworks.flywheel.trial.trial import Trial

TERMS = Terms(trial="r1", incumbent="m@1", candidate="m@2", began_at=0.0, share=0.5, margin=0.05, slow_s=1.0)


def terms(**changes):
    return msgspec.structs.replace(TERMS, **changes)


def lived(seed, n, *, worse=0.0, users=0, share=0.5, trial=None, slow=0.02, failed=0.0):
    """Return a trial that saw `n` requests; with `users`, each is faithful to an arm and has a rate of its own."""
    rng = np.random.default_rng(seed)
    trial = trial or Trial.begin(terms(share=share))
    arms = rng.random(users or n) < share
    own = rng.beta(1, 9, users) if users else None  # failures: a tenth on average, very unlike between users
    draws, who, times = rng.random(n), rng.integers(0, users or 1, n), rng.random((n, 2))
    for i in range(n):
        canary = bool(arms[who[i] if users else i])
        rate = (own[who[i]] if users else 0.1) + (worse if canary else 0.0)
        trial.observe(
            "candidate" if canary else "incumbent",
            at=i * 10.0,
            user=f"u{who[i]}" if users else "",
            success=float(draws[i] >= rate),
            slow=bool(times[i, 0] < slow),
            failed=bool(times[i, 1] < (failed if canary else 0.0)),
        )
        if trial.decision:
            break
    return trial


def test_an_equal_candidate_is_seldom_rolled_back_although_every_request_is_looked_at():
    ends = [lived(seed, 1200).decision for seed in range(80)]
    assert ends.count("roll-back") <= 8  # alpha of 80 is 4
    assert ends.count("promote") >= 48


def test_users_who_differ_and_come_back_do_not_make_it_err_more():
    ends = [lived(seed, 1500, users=150).decision for seed in range(60)]
    assert ends.count("roll-back") <= 7


def test_a_candidate_worse_by_the_margin_is_seldom_promoted():
    ends = [lived(seed, 1500, worse=0.05).decision for seed in range(60)]
    assert ends.count("promote") <= 7


def test_harm_is_seen_the_sooner_the_larger_it_is():
    ends = [[lived(seed, 6000, worse=worse) for seed in range(5)] for worse in (0.08, 0.2, 0.8)]
    assert all(trial.decision == "roll-back" for group in ends for trial in group)
    delays = [np.median([trial.last_at for trial in group]) for group in ends]
    assert delays == sorted(delays, reverse=True)


def test_a_canary_that_fails_is_rolled_back_within_a_few_requests_even_at_a_small_share():
    trial = lived(0, 3000, failed=1.0, share=0.02)
    assert trial.decision == "roll-back"
    assert "failures" in trial.reasons[0]
    assert trial.monitors["failures"].candidate.units <= 12


def test_a_canary_that_is_always_slow_is_rolled_back_for_it():
    trial = Trial.begin(terms())
    for i in range(400):
        canary = bool(i % 2)
        trial.observe("candidate" if canary else "incumbent", at=float(i), slow=canary, failed=False)
    assert trial.decision == "roll-back"
    assert "latency" in trial.reasons[0]


def test_mirrored_arms_give_mirrored_evidence():
    rng = np.random.default_rng(4)
    one, other = Trial.begin(terms()), Trial.begin(terms())
    for i in range(300):
        a, b = float(rng.random() < 0.8), float(rng.random() < 0.8)
        for trial, arms in ((one, ("incumbent", "candidate")), (other, ("candidate", "incumbent"))):
            trial.observe(arms[0], at=float(i), success=a)
            trial.observe(arms[1], at=float(i), success=b)
    assert one.monitors["quality"].harm.capital == pytest.approx(other.monitors["quality"].gain.capital, rel=1e-6)


def test_a_trial_that_was_kept_and_taken_up_again_ends_as_the_undisturbed_one():
    whole, broken = Trial.begin(terms()), Trial.begin(terms())
    for i in range(500):
        told = {"at": i * 50.0, "user": f"u{i % 90}", "success": float(i % 7 > 0), "slow": i % 50 == 0, "failed": False}
        arm = "candidate" if i % 90 % 2 else "incumbent"
        whole.observe(arm, **told)
        broken.observe(arm, **told)
        if i % 37 == 0:
            broken = Trial.from_bytes(broken.to_bytes())
    assert broken.report() == whole.report()
    with pytest.raises(DataError, match="begin again"):
        Trial.from_bytes(b"nothing")


def test_without_verdicts_nothing_is_promoted_and_after_the_longest_time_the_incumbent_stays():
    trial = Trial.begin(terms(longest_s=1000.0))
    for i in range(2000):
        trial.observe("candidate" if i % 2 else "incumbent", at=i * 0.4, slow=False, failed=False)
    assert trial.decision == ""
    assert trial.tick(1001.0) == "undecided"
    assert "no outcome told quality" in trial.reasons
    assert trial.observe("candidate", at=2000.0, success=1.0) == "undecided"


def test_a_user_counts_once_however_much_is_asked():
    trial = Trial.begin(terms())
    for i in range(3000):
        trial.observe("candidate" if i % 2 else "incumbent", at=float(i), user=f"u{i % 2}", success=float(not i % 2))
    assert trial.decision == ""
    assert trial.monitors["quality"].candidate.units == 1


def test_a_user_who_changed_the_arm_does_not_count_there():
    trial = Trial.begin(terms())
    trial.observe("incumbent", at=0.0, user="u", success=1.0)
    trial.observe("candidate", at=1.0, user="u", success=0.0)
    assert trial.monitors["quality"].ignored == {"a user who changed the arm": 1}


def test_one_of_many_sources_cannot_flood_a_trial_with_verdicts():
    trial = Trial.begin(terms(margin=0.01))
    for i in range(600):
        good = float(i % 5 > 0)
        trial.observe("candidate" if i % 2 else "incumbent", at=float(i), success=good, source=f"key{i % 30}")
    for i in range(600):
        arm = "candidate" if i % 2 else "incumbent"
        trial.observe(arm, at=600.0 + i, success=float(not i % 2), source="attacker")
    monitor = trial.monitors["quality"]
    assert monitor.sources["attacker"] <= 0.1 * sum(monitor.sources.values()) + 1
    assert monitor.ignored["too much from one source"] > 400
    assert trial.decision != "roll-back"


def test_a_shadow_passes_without_verdicts_and_is_refused_for_answers_that_are_worse():
    def shadow(worse):
        trial = Trial.begin(terms(mode="shadow"))
        for i in range(900):
            for arm in ("incumbent", "candidate"):
                trial.observe(arm, at=float(i), user=f"u{i}", slow=False, failed=False)
            trial.observe_pair(at=float(i), user=f"u{i}", incumbent=1.0, candidate=float(not (worse and i % 3)))
        return trial

    assert shadow(worse=False).decision == "promote"
    assert shadow(worse=True).decision == "roll-back"


def test_a_gain_is_demanded_where_that_is_the_goal():
    def lucky(better):
        trial = Trial.begin(terms(goal="better"))
        return lived(1, 3000, worse=-better, trial=trial).decision

    assert lucky(0.08) == "promote"
    assert lucky(0.0) == ""


def test_the_report_tells_what_was_seen():
    trial = lived(3, 4000)
    story = "\n".join(trial.report().story())
    assert trial.decision.upper() in story
    assert "because" in story
    record = msgspec.json.decode(trial.report().to_json())
    assert record["story"] == trial.report().story()
    assert record["decision"] == trial.decision


@pytest.mark.parametrize("changes", [{"margin": 0.0}, {"alpha": 0.0}, {"share": 0.0}, {"margin": 0.7}])
def test_terms_that_cannot_be_meant_are_refused(changes):
    known = {name: getattr(TERMS, name) for name in TERMS.__struct_fields__}
    with pytest.raises(ConfigError, match=next(iter(changes))):
        Terms(**{**known, **changes})


def test_an_outcome_that_is_no_share_is_refused():
    with pytest.raises(DataError, match="between 0 and 1"):
        Trial.begin(terms()).observe("candidate", at=0.0, success=float("nan"))


def test_terms_come_from_the_release_and_the_task():
    release = Release(
        id="r7", alias="m", model="m", version=3, action="canary", reason="", by="", at=5.0, canary=4, share=0.1,
        mode="shadow",
    )  # fmt: skip
    made = terms_of(release, TaskCanary(margin=0.25, alpha=0.1), longest_s=60.0)
    assert (made.incumbent, made.candidate, made.mode, made.failure_margin) == ("m@3", "m@4", "shadow", 0.25)


def test_slow_is_what_exceeds_the_incumbents_p95_and_its_margin():
    assert slow_threshold([i / 100 for i in range(1, 101)], 0.25) == pytest.approx(0.95 * 1.25)
    assert slow_threshold([0.1] * 99, 0.25) == 0.0


def test_the_plan_says_how_long_a_trial_takes_and_is_about_right():
    plan = plan_trial(terms(), requests_per_day=1000, feedback_share=1.0, accuracy=0.9)
    ends = [lived(seed, 20 * plan.units) for seed in range(16)]
    taken = np.median([one.monitors["quality"].candidate.units for one in ends if one.decision == "promote"])
    assert taken == pytest.approx(plan.units, rel=0.35)
    assert plan.days == pytest.approx(plan.units / 500)
    silent = plan_trial(terms(), requests_per_day=1000, feedback_share=0.0)
    assert "undecided" in silent.story()[0]
    assert not silent.decides
