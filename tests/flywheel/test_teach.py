"""A teacher that answers, disagrees with itself, is slow to come up, goes away half way, or is killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.request import Answer
from tokenworks.core.usage import Usage
from tokenworks.flywheel.teach import GIVE_UP, Teaching, teach
from tokenworks.flywheel.voting import vote


def chat_rows(count):
    rows = ({"messages": [{"role": "user", "content": f"{n}?"}], "request_id": f"r{n}"} for n in range(count))
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class Teacher:
    """Answers through the request path's own types, by a function of (question, how often asked)."""

    def __init__(self, say):
        self.say, self.asked, self.at_once, self.most = say, [], 0, 0

    async def __call__(self, request):
        question = request.body.get("input") or request.body["messages"][-1]["content"]
        self.asked.append(request)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        said = self.say(question, sum(1 for one in self.asked if question in str(one.body)) - 1)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, int):
            return Answer(request_id="x", status=said, body={"error": {"message": "not now"}})
        body = {"choices": [{"message": {"content": said}, "finish_reason": "stop"}]}
        if request.endpoint == "classify":
            body = {"data": [{"label": said}]}
        usage = Usage(prompt_tokens=3, completion_tokens=2)
        return Answer(request_id="x", status=200, body=body, usage=usage, latency_s=0.25)


async def at_once(seconds):
    """Do not wait."""


def taught(teacher, tmp_path, rows=None, **how):
    by = Teaching(**{"kind": "chat", **how})
    return teach(rows or chat_rows(6), teacher, "big", by=by, journal=tmp_path / "journal.jsonl", sleep=at_once)


def rows_of(found):
    return [json.loads(line) for line in found.rows.splitlines()]


def test_answers_become_conversations_with_their_cost(tmp_path):
    found = taught(Teacher(lambda question, _: f"it is {question}"), tmp_path)
    assert found.complete
    assert rows_of(found)[2] == {
        "messages": [{"role": "user", "content": "2?"}, {"role": "assistant", "content": "it is 2?"}],
        "request_id": "r2",
        "agreement": 1.0,
    }
    assert (found.calls, found.engine_s, found.prompt_tokens, found.completion_tokens) == (6, 1.5, 18, 12)
    assert found.engine_s_per_answer == 0.25
    assert found.story() == "teacher answered all 6: 6 of 6 answers agreed on, 0.250 engine-s each"


def test_the_majority_of_several_samples_counts_and_disagreement_is_left_out(tmp_path):
    answers = {"0?": ["#### 4", "so #### 4.0", "#### 5"], "1?": ["a", "b", "c"]}
    teacher = Teacher(lambda question, time: answers[question][time])
    found = taught(teacher, tmp_path, chat_rows(2), samples=3, agreement=0.6, concurrency=1)
    (row,) = rows_of(found)
    assert (row["messages"][-1]["content"], row["agreement"]) == ("#### 4", 0.6667)
    assert (found.answered, found.used, found.calls) == (2, 1, 6)
    assert len({one.body["seed"] for one in teacher.asked}) == 3
    assert all(one.body["temperature"] > 0 for one in teacher.asked)


def test_a_classifier_teaches_only_labels_that_the_student_knows(tmp_path):
    rows = b"".join(json.dumps({"text": text, "request_id": text}).encode() + b"\n" for text in ("a", "b"))
    teacher = Teacher(lambda text, _: {"a": "billing", "b": "weather"}[text])
    found = taught(teacher, tmp_path, rows, kind="classify", labels=("billing", "login"))
    assert rows_of(found) == [{"text": "a", "label": "billing", "request_id": "a", "agreement": 1.0}]


def test_calls_run_side_by_side_but_no_more_than_allowed(tmp_path):
    teacher = Teacher(lambda question, _: "yes")
    taught(teacher, tmp_path, chat_rows(30), concurrency=3)
    assert teacher.most == 3


def test_what_fails_for_a_moment_is_asked_again_with_growing_pauses(tmp_path):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)

    teacher = Teacher(lambda question, time: [503, ConnectionError("gone"), "yes"][time])
    by = Teaching(kind="chat", concurrency=1)
    found = teach(chat_rows(1), teacher, "big", by=by, journal=tmp_path / "j", sleep=sleep)
    assert (found.used, waits) == (1, [0.5, 1.0])


def test_a_refusal_is_not_asked_again_and_the_label_goes_with_every_call(tmp_path):
    teacher = Teacher(lambda question, _: 403)
    found = taught(teacher, tmp_path, chat_rows(1), label="confidential")
    assert len(teacher.asked) == 1
    assert teacher.asked[0].label == "confidential"
    assert found.failures == ("status 403: not now",)


def test_a_teacher_that_fails_half_way_leaves_what_it_had_and_is_taken_up_there(tmp_path):
    dead = Teacher(lambda question, _: "yes" if int(question[:-1]) < 10 else 500)
    found = taught(dead, tmp_path, chat_rows(40), concurrency=1)
    assert (found.answered, found.used, found.complete) == (10, 10, False)
    assert found.story().startswith("teacher failed after 10 of 40 (status 500: not now)")
    assert len(dead.asked) == 10 + GIVE_UP * 3  # not every one of the other 30
    well = Teacher(lambda question, _: "yes")
    again = taught(well, tmp_path, chat_rows(40))
    assert again.complete
    assert len(well.asked) == 30
    assert again.calls == 40  # what the first run paid is part of the cost


def test_an_answer_that_was_cut_off_is_no_answer(tmp_path):
    class Cut(Teacher):
        async def __call__(self, request):
            got = await super().__call__(request)
            got.body["choices"][0]["finish_reason"] = "length"
            return got

    found = taught(Cut(lambda question, _: "and then"), tmp_path, chat_rows(1))
    assert (found.used, found.failures) == (0, ("status 200: no whole answer in the response (cut off, or empty)",))


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from tokenworks.core.request import Answer
from tokenworks.flywheel.teach import Teaching, teach
asked = 0
async def answer(request):
    global asked
    asked += 1
    if asked == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    body = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
    return Answer(request_id="x", status=200, body=body, latency_s=0.25)
journal = Path(sys.argv[1])
rows = journal.with_suffix(".rows").read_bytes()
teach(rows, answer, "big", by=Teaching(kind="chat", concurrency=1), journal=journal)
"""


def test_a_killed_run_goes_on_where_it_was_and_comes_to_the_same_rows(tmp_path):
    journal = tmp_path / "journal.jsonl"
    journal.with_suffix(".rows").write_bytes(chat_rows(9))
    done = subprocess.run([sys.executable, "-c", KILLED, str(journal)], check=False, env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    with journal.open("ab") as file:
        file.write(b'{"request_id": "r8", "answ')  # half a line
    teacher = Teacher(lambda question, _: "yes")
    found = taught(teacher, tmp_path, chat_rows(9), concurrency=1)
    (tmp_path / "other").mkdir()
    undisturbed = taught(Teacher(lambda question, _: "yes"), tmp_path / "other", chat_rows(9), concurrency=1)
    assert len(teacher.asked) == 4
    assert found.rows == undisturbed.rows


def test_another_teacher_does_not_find_the_first_ones_answers(tmp_path):
    taught(Teacher(lambda question, _: "one"), tmp_path)
    found = teach(
        chat_rows(6), Teacher(lambda question, _: "two"), "other", by=Teaching(kind="chat"),
        journal=tmp_path / "journal.jsonl",
    )  # fmt: skip
    assert {row["messages"][-1]["content"] for row in rows_of(found)} == {"two"}


def test_rows_and_settings_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(DataError, match="line 7"):
        taught(Teacher(lambda question, _: "x"), tmp_path, chat_rows(6) + b'{"text": "a"}\n')
    with pytest.raises(ConfigError, match="at least 1"):
        taught(Teacher(lambda question, _: "x"), tmp_path, samples=0)


def test_json_answers_agree_by_value_and_a_tie_goes_to_the_first():
    assert vote(['{"a":1,"b":2}', "x", '{"b": 2, "a": 1}'], kind="extract").share == pytest.approx(2 / 3)
    assert vote(["b", "a"], kind="chat").answer == "b"
