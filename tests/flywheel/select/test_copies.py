"""Near copies, evaluation items and personal data: what is never learned, or not as it was written."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flywheel.select.home import task_of
from tokenworks.core.errors import DataError
from tokenworks.flywheel.select.decontaminate import EvalTexts, repeats, runs
from tokenworks.flywheel.select.near import copies, like, signatures

TASK, CHAT = task_of(), task_of("chat")
LONG = "the quick brown fox jumps over the lazy dog while twelve grey geese watch from the frozen lake"


def test_a_near_copy_is_found_whatever_its_case_and_marks():
    texts = [LONG, f"{LONG.upper()}!", "something else entirely", LONG.replace("lake", "lakes")]
    assert copies(signatures(texts), ["a"] * 4) == {1: 0, 3: 0}


def test_a_near_copy_with_another_answer_stays():
    assert copies(signatures([LONG, LONG]), ["freeze", "unfreeze"]) == {}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=30))
def test_of_equal_texts_the_first_stays_and_none_is_lost(texts: list[str]):
    found = copies(signatures(texts), ["a"] * len(texts))
    for at, text in enumerate(texts):
        if text in texts[:at]:
            assert at in found
    assert all(of < at for at, of in found.items())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=12), st.lists(st.text(max_size=40), max_size=12))
def test_what_is_like_is_at_least_what_is_equal(texts: list[str], known: list[str]):
    found = like(signatures(texts), signatures(known))
    assert all(found[at] for at, text in enumerate(texts) if text in known)


def test_eight_words_in_a_row_are_contamination_and_seven_are_not():
    known = EvalTexts([LONG])
    words = LONG.split()
    assert repeats("so " + " ".join(words[3:11]) + " they say", [known])
    assert not repeats("so " + " ".join(words[3:10]) + " they say", [known])


def test_words_that_many_items_share_are_the_form_of_the_question():
    form = "extract the total and the date of this invoice as json"
    known = EvalTexts([f"{form} number {n} from {n + 7} by {n * 31}" for n in range(50)])
    assert not repeats(f"{form} about shoes", [known])
    assert repeats(f"{form} number 7 from 14 by 217", [known])


def test_runs_depend_on_the_order_of_words():
    assert set(runs("a b c d e f g h")).isdisjoint(runs("h g f e d c b a"))
    assert list(runs("only seven words are in this one")) == []


def test_every_evaluation_set_is_kept_out_under_its_own_name(home):
    home.evals = {
        "gold": home.blob([{"text": "Where is my card?", "label": "access"}]),
        "safety": home.blob(
            [{"messages": [{"role": "user", "content": LONG}, {"role": "assistant", "content": "No."}]}]
        ),
        "general": home.blob([{"query": "opening hours on sundays", "relevant": ["faq"]}]),
    }
    home.correct("where is my CARD", "access")
    home.correct(f"tell me: {LONG}", "billing")
    home.correct("opening hours on sundays", "shipping")
    home.correct("a clean one", "billing")
    chosen = home.select(TASK)
    assert [row["text"] for row in home.learned(chosen)] == ["a clean one"]
    assert chosen.report.set_aside == {"in general": 1, "in gold": 1, "in safety": 1}


def test_an_answer_of_the_gold_set_is_not_learned_either(home):
    home.evals = {
        "gold": home.blob([{"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": LONG}]}])
    }
    home.say(home.ask("tell me about the fox", answer="no", endpoint="chat.completions"), LONG)
    assert home.learned(home.select(CHAT)) == []


def test_an_evaluation_set_that_cannot_be_read_stops_the_selection(home):
    home.evals = {"gold": home.runner.artifacts.put_bytes(b'{"text": "no label"}\n')}
    with pytest.raises(DataError, match=r"task route: eval:gold line 1"):
        home.select(TASK)


def test_personal_data_is_masked_and_secrets_are_set_aside(home):
    home.correct("write to jane.roe@clinic.test about my bill", "billing")
    home.correct("my key is AKIAIOSFODNN7EXAMPLQ please reset it", "access")
    chosen = home.select(TASK)
    assert [row["text"] for row in home.learned(chosen)] == ["write to [email] about my bill"]
    assert chosen.report.set_aside == {"secret": 1}
    assert chosen.report.masked == 1


def test_a_chat_is_masked_in_every_message_and_in_both_answers(home):
    asked = [{"role": "user", "content": "mail bob@clinic.test"}]
    home.say(home.ask(asked, answer="I mail bob@clinic.test", endpoint="chat.completions"), "Done, ann@clinic.test")
    chosen = home.select(CHAT)
    said = str(home.learned(chosen)) + str(home.rows(chosen.pairs))
    assert "clinic.test" not in said
    assert "[email]" in said


def test_unlabelled_questions_follow_the_same_rules(home):
    home.evals = {"gold": home.blob([{"text": "a gold question", "label": "billing"}])}
    home.ask("a gold question")
    home.ask("my key is AKIAIOSFODNN7EXAMPLQ")
    home.ask("mail bob@clinic.test")
    home.ask("no consent", learn=False)
    assert [row["text"] for row in home.rows(home.select(TASK).unlabelled)] == ["mail [email]"]
