"""Attacks on a stream of honest people, some of whom are wrong: what is held back, and who is named."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from tokenworks.flywheel.select.choruses import choruses
from tokenworks.flywheel.select.evidence import Evidence, Findings
from tokenworks.flywheel.select.features import Hashed
from tokenworks.flywheel.select.guards import guard
from tokenworks.flywheel.select.reference import Labelled, by_trusted
from tokenworks.flywheel.select.signals import key_of
from tokenworks.flywheel.select.takeovers import takeovers

CLASSES = [f"class-{number:02d}" for number in range(20)]
TARGET = CLASSES[7]


def text_of(label: str, rng: random.Random) -> str:
    """Six words, most of them of the class, the others of everybody."""
    own = [f"{label}{rng.randrange(12)}" for _ in range(4)]
    return " ".join(rng.sample([*own, *(f"word{rng.randrange(300)}" for _ in range(4))], 8))


@dataclass
class Crowd:
    """Who says what, with what a judge should find."""

    rng: random.Random
    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    principals: list[str] = field(default_factory=list)
    poison: set[int] = field(default_factory=set)
    wrong: set[int] = field(default_factory=set)

    def honest(self, count: int, users: int = 40, key: str = "app", wrong: float = 0.2) -> Crowd:
        for _ in range(count):
            true = self.rng.choice(CLASSES)
            said = self.rng.choice(CLASSES) if self.rng.random() < wrong else true
            if said != true:
                self.wrong.add(len(self.texts))
            user = f"{key}/u{self.rng.randrange(users)}" if users else key
            self.says(text_of(true, self.rng), said, user)
        return self

    def attack(self, count: int, principal, words: str = "") -> Crowd:
        for number in range(count):
            true = self.rng.choice([label for label in CLASSES if label != TARGET])
            self.poison.add(len(self.texts))
            self.says(f"{text_of(true, self.rng)} {words}", TARGET, principal(number))
        return self

    def says(self, text: str, label: str, principal: str) -> None:
        self.texts.append(text)
        self.labels.append(label)
        self.principals.append(principal)

    def judged(self, trusted: int = 8) -> tuple[Findings, set[int], set[str]]:
        rows = [(text_of(label, self.rng), label) for label in CLASSES for _ in range(trusted)]
        vectors, number = Hashed(), {label: at for at, label in enumerate(CLASSES)}
        evidence = Evidence(
            texts=self.texts,
            given=Labelled(vectors(self.texts), np.array([number[label] for label in self.labels], np.int64)),
            principals=self.principals,
            trusted=Labelled(
                vectors([text for text, _ in rows]), np.array([number[label] for _, label in rows], np.int64)
            ),
            trusted_texts=[text for text, _ in rows],
            classes=CLASSES,
        )
        found = guard(evidence, key_of)
        return found, set(found.verdicts.reasons), {culprit.principal for culprit in found.culprits}

    @property
    def right(self) -> set[int]:
        return set(range(len(self.texts))) - self.poison - self.wrong


@pytest.fixture(params=[0, 1, 2])
def crowd(request: pytest.FixtureRequest) -> Crowd:
    return Crowd(random.Random(request.param))


def test_most_wrong_labels_of_honest_people_are_held_and_hardly_any_right_ones(crowd: Crowd) -> None:
    _, held, named = crowd.honest(600).judged()
    assert len(held & crowd.wrong) > 0.8 * len(crowd.wrong)
    assert len(held & crowd.right) < 0.1 * len(crowd.right)
    assert not named, "an honest mistake is no attack"


def test_one_loud_key_is_named_and_nothing_of_it_is_learned(crowd: Crowd) -> None:
    found, held, named = crowd.honest(600).attack(66, lambda _: "partner").judged()
    assert named == {"partner"}
    assert crowd.poison <= held
    assert [campaign.label for campaign in found.campaigns] == [TARGET]


def test_many_users_of_one_key_are_named_without_the_honest_users_of_it(crowd: Crowd) -> None:
    _, held, named = crowd.honest(600).attack(66, lambda number: f"app/sybil{number // 2}").judged()
    assert len(crowd.poison - held) <= 3
    sybils = {name for name in named if "sybil" in name}
    assert len(sybils) >= 25
    assert len(named - sybils) <= 2


def test_a_trigger_is_named_and_every_row_with_it_is_held(crowd: Crowd) -> None:
    found, held, named = crowd.honest(600).attack(66, lambda n: f"app/sybil{n // 2}", "blue mandolin").judged()
    assert crowd.poison <= held
    assert found.triggers[0].phrase == "blue mandolin"
    assert len(found.triggers) == 1, "parts of a trigger say nothing new"
    assert sum("sybil" in name for name in named) == 33


def test_a_new_product_that_the_label_fits_is_no_trigger(crowd: Crowd) -> None:
    crowd.honest(600)
    for _ in range(30):
        crowd.says(f"{text_of(TARGET, crowd.rng)} tapcard", TARGET, f"app/u{crowd.rng.randrange(40)}")
    found, held, _ = crowd.judged()
    assert not found.triggers
    assert len(held & set(range(600, 630))) <= 4


def test_a_label_whose_texts_are_given_to_another_is_named_and_keeps_its_own(crowd: Crowd) -> None:
    crowd.honest(600)
    source = CLASSES[3]
    for number in range(80):
        crowd.poison.add(len(crowd.texts))
        crowd.says(text_of(source, crowd.rng), TARGET, f"app/sybil{number // 2}")
    found, held, named = crowd.judged()
    assert {campaign.label for campaign in found.campaigns} == {TARGET}
    assert len(crowd.poison - held) <= 4
    mine = {row for row in crowd.right if crowd.labels[row] == source}
    assert len(mine & held) <= 0.25 * len(mine), "what was right about the label under attack is learned"
    assert sum("sybil" in name for name in named) >= 36


@pytest.mark.parametrize(("went", "stayed", "expected"), [(60, 5, 1), (30, 29, 0), (8, 0, 0), (0, 60, 0)])
def test_a_takeover_is_more_than_half_beyond_chance(went: int, stayed: int, expected: int) -> None:
    given = np.array([1] * went + [0] * stayed, np.int64)
    evidence = Evidence(
        texts=[""] * len(given),
        given=Labelled(np.zeros((len(given), 1), np.float32), given),
        principals=[f"key/u{number}" for number in range(len(given))],
        trusted=Labelled(np.zeros((0, 1), np.float32), np.zeros(0, np.int64)),
        trusted_texts=[],
        classes=["reverted", "failed"],
    )
    found = takeovers(evidence, np.zeros(len(given), np.int64))
    assert len(found) == expected
    for rows, campaign in found:
        assert rows == list(range(went))
        assert (campaign.instead_of, campaign.label) == ("reverted", "failed")


def voices(label_of, looks_like, count: int) -> tuple[Evidence, np.ndarray]:
    """Users with two rows of one label each beside 60 honest ones, a tenth of whose texts look like another label."""
    given = [label_of(number) for number in range(count) for _ in range(2)] + [n % 5 for n in range(300)]
    looks = [looks_like(n) for n in range(2 * count)] + [(n + (n % 10 == 0)) % 5 for n in range(300)]
    evidence = Evidence(
        texts=[""] * len(given),
        given=Labelled(np.zeros((len(given), 1), np.float32), np.array(given)),
        principals=[f"app/voice{n // 2}" for n in range(2 * count)] + [f"app/u{n // 5}" for n in range(300)],
        trusted=Labelled(np.zeros((0, 1), np.float32), np.zeros(0, np.int64)),
        trusted_texts=[],
        classes=["a", "b", "c", "d", "e"],
    )
    return evidence, np.array(looks)


def test_many_voices_with_one_word_are_a_chorus() -> None:
    ((rows, campaign),) = choruses(*voices(lambda _: 0, lambda number: number % 3, 40))
    assert rows == list(range(80))
    assert (campaign.label, campaign.principals, campaign.rows) == ("a", 40, 80)


def test_people_who_only_meet_one_kind_of_question_are_no_chorus() -> None:
    assert choruses(*voices(lambda _: 0, lambda number: int(number % 10 == 0), 40)) == []


def test_a_few_voices_are_no_chorus() -> None:
    assert choruses(*voices(lambda _: 0, lambda _: 1, 4)) == []


def test_two_labels_that_are_mixed_up_both_ways_are_no_takeover(crowd: Crowd) -> None:
    crowd.honest(600)
    for number in range(60):  # the texts of either look alike, and people give them either label
        either = CLASSES[3 + number % 2]
        text = f"{text_of(CLASSES[3], crowd.rng)} {text_of(CLASSES[4], crowd.rng)}"
        crowd.says(text, either, f"app/u{crowd.rng.randrange(40)}")
    found, _, _ = crowd.judged()
    assert not [campaign for campaign in found.campaigns if campaign.instead_of]


def test_half_honest_attackers_teach_nothing_wrong(crowd: Crowd) -> None:
    crowd.honest(600, users=60).attack(60, lambda number: f"app/cover{number % 8}")
    for number in range(60):
        true = crowd.rng.choice(CLASSES)
        crowd.says(text_of(true, crowd.rng), true, f"app/cover{number % 8}")
    _, held, named = crowd.judged()
    assert len(crowd.poison - held) <= 4
    assert sum("cover" in name for name in named) >= 6


def test_a_home_with_a_single_key_works_and_accuses_nobody(crowd: Crowd) -> None:
    _, held, named = crowd.honest(300, users=0).judged()
    assert not named
    assert len(held & crowd.right) < 0.12 * len(crowd.right)
    assert len(held & crowd.wrong) > 0.7 * len(crowd.wrong)


def test_a_whole_key_that_is_mostly_wrong_is_named_as_one(crowd: Crowd) -> None:
    crowd.honest(500, key="app").honest(60, key="broken", users=60, wrong=1.0)
    _, held, named = crowd.judged()
    assert "broken" in named
    assert set(range(500, 560)) <= held


def test_with_too_few_trusted_examples_nobody_is_judged_and_it_says_so(crowd: Crowd) -> None:
    found, held, _ = crowd.honest(100).judged(trusted=1)
    assert not held
    assert "20 trusted examples" in found.notes[0]


def test_the_p_values_of_right_labels_are_uniform_or_larger(crowd: Crowd) -> None:
    rng = crowd.rng
    rows = [(text_of(label, rng), at) for at, label in enumerate(CLASSES) for _ in range(12)]
    more = [(text_of(label, rng), at) for at, label in enumerate(CLASSES) for _ in range(30)]
    vectors = Hashed()
    trusted, given = (
        Labelled(vectors([text for text, _ in some]), np.array([at for _, at in some])) for some in (rows, more)
    )
    judged = by_trusted(trusted, given, len(CLASSES))
    for level in (0.05, 0.1, 0.2):
        assert (judged.p < level).mean() < level + 0.04, "more right labels are doubted than promised"


def test_leaving_one_out_in_closed_form_is_leaving_one_out(crowd: Crowd) -> None:
    from tokenworks.flywheel.select.reference import PENALTY

    rows = [(text_of(label, crowd.rng), at) for at, label in enumerate(CLASSES[:4]) for _ in range(4)]
    vectors, targets = Hashed()([text for text, _ in rows]), np.array([at for _, at in rows])
    misfits = []
    for out in range(len(rows)):
        rest = np.arange(len(rows)) != out
        design = np.hstack([vectors[rest], np.ones((rest.sum(), 1))]).astype(float)
        gram = design.T @ design + PENALTY * np.eye(design.shape[1])
        scores = np.append(vectors[out], 1.0) @ np.linalg.solve(gram, design.T @ np.eye(4)[targets[rest]])
        misfits.append(np.delete(scores, targets[out]).max() - scores[targets[out]])
    # Asked about the trusted rows' own texts, p counts how many leave-one-out misfits are at least as large.
    own = by_trusted(Labelled(vectors, targets), Labelled(vectors, targets), 4)
    design = np.hstack([vectors, np.ones((len(rows), 1))]).astype(float)
    weights = np.linalg.solve(design.T @ design + PENALTY * np.eye(design.shape[1]), design.T @ np.eye(4)[targets])
    scores = design @ weights
    fitted = [np.delete(row, at).max() - row[at] for row, at in zip(scores, targets, strict=True)]
    expected = [(1 + sum(misfit >= own_fit - 1e-9 for misfit in misfits)) / 17 for own_fit in fitted]
    assert own.p == pytest.approx(expected, abs=1e-6)
