"""Who was in a step of a continuous batch."""

from __future__ import annotations

import time

import pytest

from tokenworks.metering.attribution.account import Account, Work
from tokenworks.metering.attribution.timeline import Timeline
from tokenworks.serving.steps import Steps


class Batch:
    """A library that schedules as it says."""

    def __init__(self, most_tokens: int) -> None:
        self.account = Account()
        self.steps = Steps(most_tokens)
        self.begun: set[str] = set()

    def add(self, name: str, prompt_tokens: int) -> Work:
        work = self.account.begin()
        self.steps.add(name, work, prompt_tokens, lambda: name in self.begun)
        return work

    def run(self, seconds: float = 0.005) -> None:
        self.steps.run(lambda: time.sleep(seconds))


def test_the_time_of_steps_goes_to_those_who_were_in_them_and_none_is_lost() -> None:
    batch = Batch(256)
    works = [batch.add(name, 10) for name in "abc"]
    began_s = time.perf_counter()
    for _ in range(5):
        batch.run()
        batch.begun = set("abc")
    took_s = time.perf_counter() - began_s
    batch.steps.drop("a")  # what is held is split before anybody goes
    total_s = sum(work.engine_s for work in works)
    assert 0.025 <= total_s <= took_s
    assert [work.engine_s for work in works] == pytest.approx([total_s / 3] * 3)


def test_a_prompt_pays_for_its_tokens_and_an_answer_for_one() -> None:
    batch = Batch(256)
    answer = batch.add("answer", 1)
    batch.begun.add("answer")
    batch.run(0)
    before_s = answer.engine_s
    prompt = batch.add("prompt", 99)
    batch.begun.add("prompt")
    batch.run()
    shared_s = prompt.engine_s + answer.engine_s - before_s
    assert prompt.engine_s == pytest.approx(shared_s * 0.99)


def test_prompts_wait_for_room_the_oldest_first() -> None:
    batch = Batch(100)
    first, second = batch.add("first", 150), batch.add("second", 60)
    batch.run()
    assert (first.engine_s > 0, second.engine_s) == (True, 0.0)
    batch.begun.add("first")
    before_s = first.engine_s
    batch.run()
    assert first.engine_s - before_s == pytest.approx(second.engine_s)  # 50 tokens of each were in it


def test_who_has_ended_pays_no_more() -> None:
    batch = Batch(100)
    gone, stays = batch.add("gone", 1), batch.add("stays", 1)
    batch.steps.drop("gone")
    batch.run()
    assert gone.engine_s == 0.0
    assert stays.engine_s > 0


def test_a_batch_that_nobody_asks_about_is_only_run() -> None:
    ran = []
    steps = Steps(10)
    steps.add("a", None, 3, lambda: False)
    steps.run(lambda: ran.append(1))
    assert ran == [1]


def test_who_is_traced_is_told_when_its_prompt_was_read_and_with_how_many() -> None:
    batch, clock = Batch(100), time.monotonic
    other = batch.add("other", 1)
    batch.begun.add("other")
    batch.run()
    timeline = Timeline()
    batch.steps.add("traced", batch.account.begin(timeline), 150, lambda: "traced" in batch.begun)
    assert (timeline.taken_s, other.timeline) == (0.0, None)
    before_s = clock()
    batch.run()  # 99 of its tokens
    half_s = clock()
    batch.begun.add("traced")
    batch.run()  # and 51
    assert before_s <= timeline.taken_s < half_s < timeline.read_s <= clock()
    batch.steps.drop("other")
    for _ in range(3):
        batch.run()
    batch.steps.drop("traced")
    assert (timeline.prefill.steps, timeline.prefill.batch) == (2, 2.0)
    assert (timeline.decode.steps, timeline.decode.batch) == (3, 1.0)
    assert half_s < timeline.read_s < timeline.written_s <= clock()


def test_who_finds_no_room_in_a_step_has_not_begun() -> None:
    batch, timeline = Batch(100), Timeline()
    batch.add("first", 150)
    batch.steps.add("second", batch.account.begin(timeline), 60, lambda: False)
    batch.run()
    assert timeline.taken_s == 0.0
    batch.run()
    assert timeline.taken_s > 0.0
    batch.steps.drop("second")
    assert (timeline.prefill.steps, timeline.decode.steps, timeline.read_s) == (1, 0, 0.0)
