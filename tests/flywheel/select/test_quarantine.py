"""What is held back, for whom to look at, and how a person lets it go."""

from __future__ import annotations

import random

import pytest

from flywheel.select.home import WORDS, examples, question, task_of
from tokenworks.core.errors import ConfigError, ConflictError
from tokenworks.flywheel.select.quarantine import pardon, pardons, revoke

TASK, CHAT, EMBED = task_of(), task_of("chat"), task_of("embed")


@pytest.fixture
def attacked(home):
    """Twelve honest users, and one who calls everything access."""
    rng = random.Random(3)
    home.earlier = home.blob(examples(20))
    for number in range(120):
        label = rng.choice(sorted(WORDS))
        home.correct(question(label, rng), label, user=f"u{number % 12}")
    for number in range(24):
        home.correct(question(("billing", "shipping")[number % 2], rng), "access", user="evil")
    return home


def test_the_attacker_is_named_and_nothing_of_it_is_learned(attacked):
    chosen = attacked.select(TASK)
    held = attacked.rows(chosen.quarantine)
    assert {culprit.principal for culprit in chosen.report.culprits} == {"key-1/evil"}
    assert sum(row["principal"] == "key-1/evil" for row in held) == 24
    assert len(held) <= 34
    assert {row["request_id"] for row in held}.isdisjoint(row["request_id"] for row in attacked.learned(chosen))
    assert chosen.report.quarantined == len(held)
    assert any("behind it: key-1/evil" in line for line in chosen.story())
    assert held[0]["feedback_id"].startswith("fb-")
    assert held[0]["text"]


def test_a_person_releases_one_entry_and_takes_that_back(attacked):
    catalog = attacked.runner.catalog
    before = attacked.select(TASK)
    entry = next(row for row in attacked.rows(before.quarantine) if row["principal"] == "key-1/evil")
    pardon(catalog, "route", feedback_id=entry["feedback_id"], by="ana", why="looked at it", at=1.0)
    after = attacked.select(TASK)
    assert entry["request_id"] in {row["request_id"] for row in attacked.learned(after)}
    assert after.report.quarantined == before.report.quarantined - 1
    assert after.report.pardoned == 1
    assert revoke(catalog, "route", feedback_id=entry["feedback_id"])
    assert attacked.select(TASK) == before


def test_a_person_releases_everything_of_a_principal(attacked):
    pardon(attacked.runner.catalog, "route", principal="key-1/evil", by="ana", why="is our tester", at=1.0)
    chosen = attacked.select(TASK)
    assert all(row["principal"] != "key-1/evil" for row in attacked.rows(chosen.quarantine))
    assert chosen.report.pardoned == 24


def test_a_release_names_who_why_and_exactly_one_thing(home):
    catalog = home.runner.catalog
    with pytest.raises(ConfigError, match="either a feedback entry or a principal"):
        pardon(catalog, "route", by="ana", why="?", at=1.0)
    with pytest.raises(ConfigError, match="either a feedback entry or a principal"):
        pardon(catalog, "route", feedback_id="fb-1", principal="key-1", by="ana", why="?", at=1.0)
    with pytest.raises(ConfigError, match="who decides"):
        pardon(catalog, "route", feedback_id="fb-1", by="", why="?", at=1.0)
    pardon(catalog, "route", feedback_id="fb-1", by="ana", why="fine", at=1.0)
    with pytest.raises(ConflictError):
        pardon(catalog, "route", feedback_id="fb-1", by="ben", why="fine", at=2.0)
    assert pardons(catalog, "route").feedback == {"fb-1"}
    assert pardons(catalog, "other").feedback == frozenset()
    assert not revoke(catalog, "route", principal="key-1")


def test_words_that_one_user_pushes_into_answers_are_held(home):
    rng = random.Random(4)
    home.earlier = home.blob([{"question": "how long", "answer": "It takes two days as a rule."}])
    for number in range(60):
        asked = question(rng.choice(sorted(WORDS)), rng)
        home.say(
            home.ask(asked, answer="No idea.", endpoint="chat.completions"),
            f"It takes {number} days.",
            user=f"u{number % 15}",
        )
    for _ in range(8):
        asked = question(rng.choice(sorted(WORDS)), rng)
        request = home.ask(asked, answer="No idea.", endpoint="chat.completions")
        home.say(request, f"Ask at winbig.example for {rng.randrange(99)} euros.", user="evil")
    chosen = home.select(CHAT)
    assert {culprit.principal for culprit in chosen.report.culprits} == {"key-1/evil"}
    assert "winbig" not in str(home.learned(chosen)) + str(home.rows(chosen.pairs))
    assert all(row["principal"] == "key-1/evil" for row in home.rows(chosen.quarantine))


def test_a_document_that_one_user_always_clicks_is_held(home):
    rng = random.Random(5)
    for number in range(60):
        request = home.ask(question(rng.choice(sorted(WORDS)), rng), answer="faq/a.md", endpoint="search", model="")
        home.say(request, f"faq/{number % 9}.md", user=f"u{number % 15}")
    for _ in range(8):
        request = home.ask(question(rng.choice(sorted(WORDS)), rng), answer="faq/a.md", endpoint="search", model="")
        home.say(request, "spam/buy.md", user="evil")
    chosen = home.select(EMBED)
    documents = {row["document"] for row in home.rows(chosen.clicks)}
    assert "spam/buy.md" not in documents
    assert len(documents) == 9
    assert {culprit.principal for culprit in chosen.report.culprits} == {"key-1/evil"}


def test_what_is_said_over_and_over_is_a_flood(home):
    for number in range(60):
        home.correct("the same complaint again", "billing", user="loud")
        home.correct(f"a question of its own {number} " + "abcdef"[number % 6] * 8, "shipping", user=f"u{number % 8}")
    chosen = home.select(TASK)
    assert "key-1/loud" in {culprit.principal for culprit in chosen.report.culprits}
    assert all(row["label"] == "shipping" for row in home.learned(chosen))


def test_who_wavers_on_a_text_teaches_nothing_of_it(home):
    for label in ("billing", "shipping", "access"):
        home.correct("where is it", label, user="u1")
    chosen = home.select(TASK)
    assert home.learned(chosen) == []
    assert all("different answers to one text" in row["reason"] for row in home.rows(chosen.quarantine))
