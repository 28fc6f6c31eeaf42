"""Two models timed in turns."""

import asyncio
import json

import msgspec
import pytest

from tokenworks.core.errors import DataError
from tokenworks.core.request import Answer
from tokenworks.core.stage import Bench
from tokenworks.core.usage import Usage
from tokenworks.line.evaluate.timing import Timed, TimingParams, timing_stage
from tokenworks.store.artifacts import open_artifacts

GOLD = [{"text": f"question {number}", "label": "a"} for number in range(20)]


def timed(folder, answer, **changes):
    (folder / "scratch").mkdir()
    bench = Bench(
        open_artifacts(str(folder / "artifacts"), cache=folder / "cache"), folder / "scratch", folder / "shared"
    )
    gold = bench.artifacts.put_bytes("\n".join(map(json.dumps, GOLD)).encode())
    params = TimingParams(task="t", kind="classify", candidate="t@2", incumbent="t@1", **changes)
    made = timing_stage(answer).run({"model": "m" * 64, "other": "n" * 64, "gold": gold}, params, bench)
    return msgspec.json.decode(bench.artifacts.get_bytes(made["timed"]), type=Timed)


class Models:
    """Two models, one of them slower; remembers the order in which they were asked."""

    def __init__(self, seconds, refuses=()):
        self.seconds, self.refuses, self.asked = seconds, refuses, []

    async def __call__(self, request):
        model, text = request.body["model"], request.body["input"]
        self.asked.append((model, text))
        await asyncio.sleep(self.seconds[model])
        status = 500 if (model, text) in self.refuses else 200
        body = {"data": [{"index": 0, "label": "a", "probs": [1.0]}]}
        return Answer(request_id="r", status=status, body=body, usage=Usage())


def test_the_slower_model_is_found_whichever_is_asked_first(tmp_path):
    models = Models({"t@1": 0.01, "t@2": 0.05})
    found = timed(tmp_path, models, sample=8)
    assert len(found.candidate) == len(found.incumbent) == 8
    assert found.p95 > 1.5
    assert found.total > 1.5
    pairs = [models.asked[at : at + 2] for at in range(2, len(models.asked), 2)]
    assert all(one[1] == other[1] for one, other in pairs)  # the same question
    assert {one[0] for one, _ in pairs} == {"t@1", "t@2"}


def test_a_question_that_one_does_not_answer_is_left_out(tmp_path):
    refuses = {("t@2", f"question {number}") for number in range(5)}
    found = timed(tmp_path, Models({"t@1": 0.0, "t@2": 0.0}, refuses))
    assert len(found.candidate) == len(found.incumbent) == 15


def test_models_that_answer_nothing_cannot_be_timed(tmp_path):
    refuses = {("t@2", row["text"]) for row in GOLD}
    with pytest.raises(DataError, match="t@2 and t@1 answered no question alike"):
        timed(tmp_path, Models({"t@1": 0.0, "t@2": 0.0}, refuses))
