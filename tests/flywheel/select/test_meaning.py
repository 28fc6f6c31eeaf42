"""What feedback teaches: right answers, better ones of two, documents that answered."""

from __future__ import annotations

import pytest

from flywheel.select.home import task_of

CLASSIFY, CHAT, EXTRACT, EMBED = task_of(), task_of("chat"), task_of("extract"), task_of("embed")


@pytest.mark.parametrize("good", [{"rating": 1}, {"signal": "accepted"}, {"outcome": 1.0}])
def test_praise_confirms_the_answer_that_was_given(home, good):
    home.say(home.ask("where is my box", answer="shipping"), **good)
    (row,) = home.learned(home.select(CLASSIFY))
    assert row["label"] == "shipping"


@pytest.mark.parametrize("bad", [{"rating": -1}, {"rating": 0}, {"signal": "regenerated"}, {"outcome": 0.5}])
def test_blame_without_a_correction_teaches_no_label(home, bad):
    request = home.ask("where is my box", answer="shipping")
    home.say(request, **bad)
    chosen = home.select(CLASSIFY)
    assert home.learned(chosen) == []
    (row,) = home.rows(chosen.unlabelled)
    assert (row["request_id"], row["answer"], row["confidence"]) == (request, "shipping", 0.9)


def test_the_latest_correction_of_a_principal_counts(home):
    request = home.ask("where is my box")
    home.say(request, "billing")
    home.say(request, "shipping")
    home.say(request, rating=1)
    (row,) = home.learned(home.select(CLASSIFY))
    assert row["label"] == "shipping"


def test_of_several_principals_the_majority_counts_and_a_tie_counts_for_nobody(home):
    request = home.ask("where is my box")
    home.say(request, "billing", user="u1")
    home.say(request, "shipping", user="u2")
    chosen = home.select(CLASSIFY)
    assert home.learned(chosen) == []
    assert chosen.report.set_aside == {"contradicting": 2}
    home.say(home.ask("Where is my BOX?"), "shipping", user="u3")
    chosen = home.select(CLASSIFY)
    (row,) = home.learned(chosen)
    assert row["label"] == "shipping"
    assert chosen.report.set_aside == {"outvoted": 1, "duplicate": 1}


def test_a_text_asked_again_replaces_what_the_same_principal_said_before(home):
    home.correct("where is my box", "billing")
    home.correct("Where is my box?", "shipping")
    chosen = home.select(CLASSIFY)
    assert [row["label"] for row in home.learned(chosen)] == ["shipping"]
    assert chosen.report.set_aside == {"superseded": 1}


def test_a_label_that_the_owner_does_not_know_is_not_learned(home):
    home.earlier = home.blob([{"text": "a", "label": "billing"}, {"text": "b", "label": "shipping"}])
    home.correct("where is my box", "shiping")
    chosen = home.select(CLASSIFY)
    assert home.learned(chosen) == []
    assert chosen.report.unusable == {"unknown label": 1}


def test_a_corrected_chat_gives_an_example_and_a_pair(home):
    asked = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Where is my box?"}]
    home.say(home.ask(asked, answer="No idea.", endpoint="chat.completions"), "At the depot.")
    chosen = home.select(CHAT)
    (example,), (pair,) = home.learned(chosen), home.rows(chosen.pairs)
    assert example["messages"] == [*asked, {"role": "assistant", "content": "At the depot."}]
    assert (pair["messages"], pair["chosen"], pair["rejected"]) == (asked, "At the depot.", "No idea.")


def test_a_preference_gives_a_pair_of_the_two_answers(home):
    worse = home.ask("Where is my box?", answer="No idea.", endpoint="chat.completions")
    better = home.ask("Where is my box?", answer="At the depot.", endpoint="chat.completions")
    home.say(better, preferred_over=worse)
    chosen = home.select(CHAT)
    (pair,) = home.rows(chosen.pairs)
    assert (pair["chosen"], pair["rejected"], pair["request_id"]) == ("At the depot.", "No idea.", better)


def test_a_preference_over_a_request_without_consent_shows_nothing_of_it(home):
    worse = home.ask("Where is my box?", answer="No idea.", endpoint="chat.completions", learn=False)
    better = home.ask("Where is my box?", answer="At the depot.", endpoint="chat.completions")
    home.say(better, preferred_over=worse)
    assert home.rows(home.select(CHAT).pairs) == []


def test_a_streamed_answer_is_put_together(home):
    events = [b'{"choices": [{"delta": {"content": "At the "}}]}', b'{"choices": [{"delta": {"content": "depot."}}]}']
    stream = b"".join(b"data: " + event + b"\n\n" for event in [*events, b"[DONE]"])
    request = home.ask("Where is my box?", endpoint="chat.completions")
    home.bodies.put(request, b'{"messages": [{"role": "user", "content": "Where is my box?"}]}', stream)
    home.say(request, rating=1)
    (row,) = home.learned(home.select(CHAT))
    assert row["messages"][-1]["content"] == "At the depot."


def test_an_extraction_must_be_json(home):
    home.say(home.ask("total 12", endpoint="chat.completions", answer="{}"), '{"total": 12}')
    home.say(home.ask("total 13", endpoint="chat.completions", answer="{}"), "thirteen")
    chosen = home.select(EXTRACT)
    assert [row["messages"][-1]["content"] for row in home.learned(chosen)] == ['{"total": 12}']
    assert chosen.report.unusable["not JSON"] >= 1


def test_searches_give_clicks(home):
    home.say(home.ask("lost card", answer="faq/cards.md", endpoint="search", model=""), "faq/lost.md")
    home.say(home.ask("late parcel", answer="faq/parcels.md", endpoint="search", model=""), signal="accepted")
    home.say(home.ask("nothing found", answer="faq/x.md", endpoint="search", model=""), rating=-1)
    chosen = home.select(EMBED)
    clicks = {row["query"]: row["document"] for row in home.rows(chosen.clicks)}
    assert clicks == {"lost card": "faq/lost.md", "late parcel": "faq/parcels.md"}


def test_several_texts_in_one_request_teach_nothing(home):
    home.say(home.ask(["one", "two"]), "shipping")
    assert home.select(CLASSIFY).report.left_out == {"nothing to learn from its text": 1}


def test_what_the_model_was_least_sure_of_comes_first_among_the_unlabelled(home):
    for confidence in (0.9, 0.55, 0.6):
        home.ask(f"asked at {confidence}", confidence=confidence)
    rows = home.rows(home.select(CLASSIFY).unlabelled)
    assert [row["confidence"] for row in rows] == [0.55, 0.6, 0.9]
