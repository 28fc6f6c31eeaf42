"""The sweep over ways of thinking: its questions, its table, and the default that comes of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tokenworks.cli.main import app
from tokenworks.core.errors import DataError
from tokenworks.core.request import Request
from tokenworks.factory.making import Making
from tokenworks.factory.sampling import Question, entries_of, metered, read_questions
from tokenworks.factory.sweeping import FIXED, sweep, sweep_lines
from tokenworks.governance.keys import HOUSE
from tokenworks.ledger.entries import RequestEntry
from tokenworks.serving.thinking.contract import Sample
from tokenworks.serving.thinking.measured import KIND


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


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no question"):
        read_questions(written(tmp_path, ""))


def test_a_sweep_compares_all_ways_on_the_same_draws_and_keeps_the_default(tmp_path: Path, tiny_llama: Path) -> None:
    body = {"prompt": "the quick", "max_tokens": 6}
    with Making(home=tmp_path / "home") as making:
        making.answering.offer("tiny@1", making.artifacts.put_folder(tiny_llama))
        found = sweep(making, "tiny@1", [Question(body=body, expected="never") for _ in range(3)], samples=4)
        kept = making.catalog.objects.get(KIND, "tiny")
        asked = Request(endpoint="completions", body={**body, "model": "tiny@1", "reasoning_effort": "high"})
        told = asyncio.run(making.answering.answer(asked)).body["reasoning"]
    ways = {(point.strategy, point.most): point for point in found.measured.points}
    assert ways["none", 1].samples == 1
    assert ways[FIXED, 4].samples == 4
    assert all(point.accuracy == 0 and point.tokens <= ways[FIXED, 4].tokens for point in ways.values())
    assert kept is not None
    assert kept.body["chosen"] == "none"
    assert "no way of thinking was shown to be right more often" in sweep_lines(found)[-1]
    assert (told["strategy"], told["samples"]) == ("none", 1)
    assert told["why"].startswith("measured on tiny@1: no way")


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
    one = metered(Sample(number=1, text=""), found["req-1"])
    assert (set(found), one.joules, one.cost_micro) == ({"req-1"}, 2.5, 7)
