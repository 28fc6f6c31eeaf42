"""The sweep over ways of thinking: its questions, its table, and the default that comes of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from tokenworks.cli.main import app
from tokenworks.core.errors import DataError
from tokenworks.core.request import Request
from tokenworks.factory.making import Making
from tokenworks.factory.replaying import FIXED
from tokenworks.factory.sampling import Question, entries_of, read_questions
from tokenworks.factory.sweeping import sweep, sweep_lines, ways_over
from tokenworks.gateway.openai.fields import Reasoning, Verification
from tokenworks.governance.keys import HOUSE
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.serving.thinking.contract import Sample
from tokenworks.serving.thinking.measured import KIND
from tokenworks.settings import Settings
from tokenworks.store.nouns import Object

COSTS = """
as_of = 2026-10-01
source = "this test"
currency = "EUR"
zone = "UTC"
[[nodes]]
name = "a"
since = 2026-01-01
price = 28000000
life_years = 4
idle_kw = 0.02
busy_kw = 0.06
pue = 1.5
[[tariffs]]
since = 2026-01-01
[[tariffs.bands]]
per_kwh = 0.30
"""


def written(folder: Path, *lines: Any) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_questions_are_requests_with_what_is_expected_or_conversations(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}]
    path = written(tmp_path, {"prompt": "1+1=", "max_tokens": 4, "expected": 2}, "", {"messages": turns})
    one, two = read_questions(path)
    assert (one.endpoint, one.expected, one.body["max_tokens"]) == ("completions", "2", 4)
    assert (two.endpoint, two.expected, two.body["messages"]) == ("chat.completions", "4", turns[:1])


@pytest.mark.parametrize("line", ["{", '{"prompt": "1+1="}', '{"expected": "2"}', "[1]"])
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str) -> None:
    path = written(tmp_path, {"prompt": "1+1=", "expected": "2"}, line)
    with pytest.raises(DataError, match="line 2"):
        read_questions(path)


def test_a_question_says_how_it_is_thought_about_and_samples_are_asked_without(tmp_path: Path) -> None:
    wants = {"verifier": {"type": "regex", "pattern": "2"}, "cue": "Sure?"}
    line = {"model": "x", "prompt": "1+1=", "stream": True, "n": 3, "reasoning": wants, "expected": "2", "seed": 7}
    (one,) = read_questions(written(tmp_path, line))
    assert one.asked.verifier == Verification(type="regex", pattern="2")
    assert one.asked.cue == "Sure?"
    assert one.numbered(3) == {"prompt": "1+1=", "seed": 9}
    with pytest.raises(DataError, match=r"line 1: reasoning: .*unknown field"):
        read_questions(written(tmp_path, {**line, "reasoning": {"colour": 1}}))


def test_questions_of_which_some_have_no_verifier_are_refused() -> None:
    body, has = {"prompt": "1+1="}, Reasoning(verifier=Verification(type="regex", pattern="2"))
    both = [Question(body=body, expected="2", asked=has), Question(body=body, expected="2")]
    with pytest.raises(DataError, match="1 of 2 questions have no verifier"):
        ways_over(16, both, ())


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no question"):
        read_questions(written(tmp_path, ""))


def test_a_sweep_compares_all_ways_on_the_same_draws_and_keeps_the_default(tmp_path: Path, tiny_llama: Path) -> None:
    body = {"prompt": "the quick", "max_tokens": 6}
    by = Verification(type="regex", pattern="[aeiou]")
    with Making(home=tmp_path / "home") as making:
        making.answering.offer("tiny@1", making.artifacts.put_folder(tiny_llama))
        asked = [Question(body=body, expected="never") for _ in range(3)]
        form = Verification(type="json_schema", schema={"type": "object"})
        found = sweep(making, "tiny@1", asked, samples=4, verifiers=[by, form], cue="Again")
        kept = making.catalog.objects.get(KIND, "tiny")
        wants = Request(endpoint="completions", body={**body, "model": "tiny@1", "reasoning_effort": "high"})
        told = asyncio.run(making.answering.answer(wants)).body["reasoning"]
    ways = {(point.strategy, point.most): point for point in found.measured.points}
    assert set(ways) >= {("budget-forcing", 3), ("best-of-n", 1), ("best-of-n", 4), ("adaptive", 4)}
    assert ways["none", 1].samples == 1
    assert ways[FIXED, 4].samples == 4
    assert 1 < ways["budget-forcing", 3].samples <= 3
    votes = [point for point in ways.values() if point.strategy != "budget-forcing"]
    assert all(point.accuracy == 0 and point.tokens <= ways[FIXED, 4].tokens for point in votes)
    assert kept is not None
    assert kept.body["chosen"] == "none"
    assert "no way of thinking was shown to be right more often" in sweep_lines(found)[-1]
    for kind in ("regex", "json_schema"):
        assert any(line.startswith(f"best-of-n {kind} ") for line in sweep_lines(found))
    form_at_most = {point.most: point.samples for point in found.measured.points if point.verifier == "json_schema"}
    assert form_at_most == {1: 1, 4: 4}  # no text of this model is an object: all are drawn
    assert (told["strategy"], told["samples"]) == ("none", 1)
    assert told["why"].startswith("measured on tiny@1: no way")


def test_what_fits_one_question_alone_or_asks_another_model_is_no_default(tmp_path: Path, tiny_llama: Path) -> None:
    body, by = {"prompt": "the quick", "max_tokens": 6}, Verification(type="regex", pattern="[aeiou]")
    asked = [Question(body=body, expected="never", asked=Reasoning(verifier=by, cue=cue)) for cue in ("Sure?", "Again")]
    with Making(home=tmp_path / "home") as making:
        making.answering.offer("tiny@1", making.artifacts.put_folder(tiny_llama))
        judge = Verification(type="judge", model="tiny@1")
        found = sweep(making, "tiny@1", asked, samples=4, verifiers=[by, judge])
    kinds = {(point.strategy, point.verifier): point.eligible for point in found.measured.points}
    assert kinds["best-of-n", "regex"]
    assert not any((kinds["best-of-n", "of each"], kinds["best-of-n", "judge"], kinds["budget-forcing", ""]))
    assert not kinds[FIXED, ""]
    judged = next(point for point in found.measured.points if point.verifier == "judge" and point.most == 4)
    assert judged.tokens > found.measured.points[0].tokens * judged.samples  # what the judge said is paid for


def test_a_metered_sweep_says_joules_and_money_for_each_way(tmp_path: Path, tiny_llama: Path) -> None:
    meter = {"source": "model", "idle_w": 20.0, "busy_w": 60.0, "interval_s": 0.05}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "costs.toml").write_text(COSTS)
    told = {"home": str(tmp_path / "home"), "meter": meter, "engines": {"generation": "openvino"}}
    with Making(msgspec.convert(told, Settings)) as making:
        making.answering.offer("tiny@1", making.artifacts.put_folder(tiny_llama))
        asked = [Question(body={"prompt": "the quick", "max_tokens": 40}, expected="never") for _ in range(40)]
        found = sweep(making, "tiny@1", asked, samples=4)
        entries = [one for _, one in read(making.ledger_root) if isinstance(one, RequestEntry)]
    one, fixed = found.measured.points[0], found.measured.points[-1]
    assert one.joules is not None
    assert one.cost is not None
    assert fixed.joules == pytest.approx(4 * one.joules, rel=0.2)
    assert fixed.cost == pytest.approx(4 * one.cost, rel=1e-6)  # every sample leads once: the mean is exact
    plain = [entry for entry in entries if not entry.joules or entry.prompt_tokens == entries[0].prompt_tokens]
    assert 40 * fixed.joules <= sum(entry.joules or 0.0 for entry in plain) * 1.2
    assert found.measured.joules_per_token is not None
    assert any(note.startswith("joules by model; ") for note in found.notes)
    assert "joules" in sweep_lines(found)[1]


def test_a_measured_verifier_and_cue_are_the_default_of_who_leaves_them_open(tmp_path: Path, tiny_llama: Path) -> None:
    body = {"prompt": "the quick", "max_tokens": 6, "model": "tiny@1", "reasoning_effort": "low"}
    with Making(home=tmp_path / "home") as making:
        making.answering.offer("tiny@1", making.artifacts.put_folder(tiny_llama))
        kept = {
            "model": "tiny", "version": "tiny@1", "at": 1.0, "questions": 9, "points": [], "chosen": "best-of-n",
            "samples": 3, "why": "it is", "worth": 20.0, "verifier": {"type": "regex", "pattern": "^$never"},
        }  # fmt: skip
        making.catalog.objects.add(Object(kind=KIND, id="tiny", scope="tiny", body=kept, created_at=1.0))

        def told(**more: Any) -> Any:
            return asyncio.run(making.answering.answer(Request(endpoint="completions", body={**body, **more})))

        first, own = told(), told(reasoning={"strategy": "self-consistency"})
    assert first.body["reasoning"]["strategy"] == "best-of-n"
    assert first.body["reasoning"]["samples"] == 3
    assert first.body["reasoning"]["score"] == 0.0
    assert own.body["reasoning"]["strategy"] == "self-consistency"


@pytest.mark.parametrize("verifier", ["{", '{"type": "dice"}', '{"pattern": "2"}'])
def test_a_verifier_that_cannot_be_meant_is_named(tmp_path: Path, verifier: str) -> None:
    asked = ["--home", str(tmp_path), "evaluate", "x", "--sweep", "reasoning", "--verifier", verifier]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code != 0
    assert "is no verifier" in f"{done.output}{done.exception}"


def test_a_sweep_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--home", str(tmp_path), "evaluate", "x", "--sweep", "weather"])
    assert done.exit_code != 0
    assert "there is: reasoning" in f"{done.output}{done.exception}"


def test_samples_get_what_the_ledger_says_they_took_though_they_are_the_house_s_own(tmp_path: Path) -> None:
    entry = RequestEntry(
        at=1.0, request_id="req-1", endpoint="completions", outcome="ok", status=200, tenant=HOUSE, joules=2.5,
        cost_micro=7,
    )  # fmt: skip
    with Making(home=tmp_path / "home") as making:
        making.ledger.append(entry)
        found = entries_of(making.ledger_root, [[Sample(number=1, text="", id="req-1"), Sample(number=2, text="")]])
    assert set(found) == {"req-1"}
    assert (found["req-1"].joules, found["req-1"].cost_micro) == (2.5, 7)
