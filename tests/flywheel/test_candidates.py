"""Which ways of making a candidate a task may take, and the reasons against the others."""

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.core.task import Task, TaskCheck, TaskHead, TaskModel, TaskTurn
from tokenworks.flywheel.candidates import STRATEGIES, available, inputs_of, usual

PLENTY = {"train": 100, "pairs": 100, "unlabelled": 100}


def task_of(kind, *, candidates=(), teacher="", metric=None, method="auto"):
    turn = TaskTurn(candidates=candidates, teacher=teacher)
    return Task(
        task=TaskHead(name="demo", kind=kind), turn=turn, check=TaskCheck(metric=metric), model=TaskModel(method=method)
    )


def names(choice):
    return [one.name for one in choice.strategies]


def test_a_chat_task_may_take_every_way_when_there_is_enough_of_all():
    task = task_of("chat", candidates=tuple(STRATEGIES), teacher="big")
    choice = available(task, PLENTY)
    assert names(choice) == list(STRATEGIES)
    assert not choice.left_out


@pytest.mark.parametrize(("name", "task", "counts", "says"), [
    ("dpo", task_of("classify", candidates=("dpo",)), PLENTY, "this is a classify task"),
    ("dpo", task_of("chat", candidates=("dpo",)), {"pairs": 19}, "19 pairs of the 20"),
    ("grpo", task_of("chat", candidates=("grpo",), metric="bits_per_byte"), PLENTY, "cannot be verified"),
    ("distil", task_of("chat", candidates=("distil",)), PLENTY, "turn.teacher"),
    ("distil", task_of("chat", candidates=("distil",), teacher="big"), {}, "0 unlabelled of the 20"),
    ("prompt", task_of("embed", candidates=("prompt",)), PLENTY, "embed task"),
])  # fmt: skip
def test_what_cannot_be_tried_says_why(name, task, counts, says):
    choice = available(task, counts)
    assert not choice.strategies
    assert says in choice.left_out[name]


def test_without_a_model_in_production_only_training_is_left():
    choice = available(task_of("chat", candidates=("sft", "prompt")), PLENTY, incumbent=False)
    assert names(choice) == ["sft"]
    assert "none yet" in choice.left_out["prompt"]


def test_a_task_that_names_nothing_takes_what_its_kind_usually_does():
    assert names(available(task_of("embed"), {})) == ["sft"]
    assert names(available(task_of("chat"), {"pairs": 50})) == ["sft", "dpo"]
    assert usual("extract") == ("sft",)


def test_a_name_that_is_none_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match="'rlhf'; there are sft, dpo"):
        available(task_of("chat", candidates=("rlhf",)), {})


@pytest.mark.parametrize("name", [name for name, one in STRATEGIES.items() if one.trainer])
def test_every_trainer_takes_the_parameters_made_for_it(name):
    one = STRATEGIES[name]
    params = one.params(task_of("extract", method="head"), {"type": "object"})
    assert isinstance(params, one.trainer.Params)
    assert one.trainer.PLAN.name.startswith(f"train.{name}")
    assert one.trainer.TRAIN.name == f"train.{name}"


def test_inputs_are_the_parts_that_exist():
    parts = {"pairs": "a" * 64, "train": "", "unlabelled": "c" * 64}
    assert inputs_of(STRATEGIES["dpo"], parts, "b" * 64) == {"pairs": "a" * 64, "base": "b" * 64}
