"""Reinforcement of a real, tiny Llama by what a grader finds right: does the reward rise, and is a stop forgotten?"""

import json

import numpy as np
import pytest

from line.train.lessons import chats, plan_for, recipe
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.stage import Bench
from tokenworks.line.train import grpo, tune
from tokenworks.line.train._chat_tokens import prompt_ids
from tokenworks.line.train._conversations import Message
from tokenworks.line.train._grpo import advantages, order
from tokenworks.line.train._sampling import Sampling, answers_to, stop_tokens
from tokenworks.line.train._sft import Recipe, trainee
from tokenworks.line.train.tune import tokenizer_of

torch = pytest.importorskip("torch")

QUESTIONS = [("Is the sky blue?", "yes"), ("Is grass red?", "no"), ("Is snow white?", "yes"), ("Is coal white?", "no")]


@pytest.fixture(scope="module")
def undecided(make_llama, tmp_path_factory):
    """A model that answers every question by yes or no, at random: the format is learnt, the answers are not."""
    from tokenworks.store.artifacts import open_artifacts

    root = tmp_path_factory.mktemp("undecided")
    base = make_llama(eos_token_id=1)  # <|end|>, with which the template ends an answer
    artifacts = open_artifacts(str(root / "artifacts"), cache=root / "cache")
    (root / "scratch").mkdir()
    bench = Bench(artifacts, root / "scratch", root / "cache", threads=1)
    both = [(question, answer) for question, _ in QUESTIONS for answer in ("yes", "no")]
    inputs = {
        "train": artifacts.put_bytes(chats(both)),
        "base": artifacts.put_folder(base),
        "plan": artifacts.put_bytes(plan_for(recipe("full", steps=60, rate=3e-3, batch_tokens=1024))),
    }
    return artifacts.folder(tune.TRAIN.run(inputs, tune.Params(), bench)["model"])


def inputs_of(bench, base, method="full", *, steps=30, rate=3e-4, questions=QUESTIONS):
    return {
        "train": bench.artifacts.put_bytes(chats(questions)),
        "base": bench.artifacts.put_folder(base),
        "plan": bench.artifacts.put_bytes(plan_for(recipe(method, steps=steps, rate=rate, batch_tokens=0))),
    }


PARAMS = grpo.Params(max_tokens=6, prompts=4, group=8, max_length=128)


def log_of(bench, outputs):
    return json.loads(bench.artifacts.get_bytes(outputs["log"]))


@pytest.mark.parametrize(("method", "rate"), [("full", 1e-3), ("lora", 1e-2)])
def test_the_reward_rises_where_the_base_guesses(bench, undecided, method, rate):
    outputs = grpo.TRAIN.run(inputs_of(bench, undecided, method, rate=rate, steps=40), PARAMS, bench)
    reward = log_of(bench, outputs)["reward"]
    assert 0.2 < np.mean(reward[:3]) < 0.8
    assert np.mean(reward[-5:]) > 0.9
    assert accuracy(bench.artifacts.folder(outputs["model"])) == 1.0
    assert ("adapter" in outputs) == (method == "lora")


def accuracy(folder):
    """Share of questions that the model in `folder` answers right when it takes the likeliest token."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer, _ = tokenizer_of(folder)
    right = 0
    for question, answer in QUESTIONS:
        ids = torch.tensor([prompt_ids((Message(role="user", content=question),), tokenizer)])
        said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False)
        right += tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True).strip() == answer
    return right / len(QUESTIONS)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_stopped_run_resumes_to_the_same_bytes_answers_included(bench, undecided, tmp_path, monkeypatch, method):
    inputs = inputs_of(bench, undecided, method, steps=6)
    other = tmp_path / "undisturbed"
    other.mkdir()
    undisturbed = grpo.TRAIN.run(inputs, PARAMS, Bench(bench.artifacts, other, bench.cache, threads=1))

    def stop(done, total=None, *, unit="", note=""):
        if done == 4:
            raise Stopped

    monkeypatch.setattr("tokenworks.line.train._fit.CHECKPOINT_EVERY_S", 0.0)
    watched = Bench(bench.artifacts, bench.scratch, bench.cache, progress=stop, threads=1)
    with pytest.raises(Stopped):
        grpo.TRAIN.run(inputs, PARAMS, watched)
    assert (bench.scratch / "grpo.checkpoint").exists()
    assert grpo.TRAIN.run(inputs, PARAMS, bench) == undisturbed


def test_dear_distance_keeps_the_model_nearer_to_its_base(bench, undecided):
    def apart(kl):
        (bench.scratch / "grpo.checkpoint").unlink(missing_ok=True)
        params = grpo.Params(max_tokens=6, prompts=4, group=8, max_length=128, kl=kl)
        log = log_of(bench, grpo.TRAIN.run(inputs_of(bench, undecided, rate=1e-3, steps=20), params, bench))
        return log["kl"]

    free, dear = apart(1e-9), apart(10.0)
    assert free[0] == pytest.approx(0, abs=1e-6)
    assert dear[-1] < free[-1] / 2


def test_questions_that_are_always_right_or_always_wrong_teach_nothing(bench, undecided):
    never = [(question, "perhaps") for question, _ in QUESTIONS]
    with pytest.raises(DataError, match="tune on examples first"):
        grpo.TRAIN.run(inputs_of(bench, undecided, steps=2, questions=never), PARAMS, bench)
    always = [(question, "o|yes|no") for question, _ in QUESTIONS]
    params = grpo.Params(reward="regex", max_tokens=6, prompts=2, group=4, max_length=128)
    with pytest.raises(DataError, match="nothing to reinforce"):
        grpo.TRAIN.run(inputs_of(bench, undecided, steps=1, rate=0.0, questions=always), params, bench)


def test_answers_that_never_end_are_named_as_such(bench, tiny_llama):
    with pytest.raises(DataError, match="raise max_tokens"):
        grpo.TRAIN.run(inputs_of(bench, tiny_llama, steps=1), PARAMS, bench)


def test_the_plan_counts_steps_and_says_how_often_the_base_is_right(bench, undecided):
    inputs = {name: value for name, value in inputs_of(bench, undecided).items() if name != "plan"}
    params = grpo.Params(max_tokens=6, prompts=2, group=4, max_length=128, epochs=3, budget="1h")
    plan = json.loads(bench.artifacts.get_bytes(grpo.PLAN.run(inputs, params, bench)["plan"]))
    assert (plan["steps"], plan["epochs"]) == (6, 3.0)
    assert "mean reward 0." in plan["why"]
    inputs["plan"] = grpo.PLAN.run(inputs, params, bench)["plan"]
    assert log_of(bench, grpo.TRAIN.run(inputs, params, bench))["answers"] == 6 * 2 * 4
    del inputs["plan"]
    tokens = grpo.Params(max_tokens=6, prompts=2, group=4, max_length=128, epochs=99, budget="40 tokens")
    assert json.loads(bench.artifacts.get_bytes(grpo.PLAN.run(inputs, tokens, bench)["plan"]))["steps"] < 6


def test_answers_in_one_batch_are_those_of_each_prompt_alone(undecided):
    """Padding on the left changes nothing: where one token has all the probability, both ways say the same."""
    tokenizer, _ = tokenizer_of(undecided)
    learner = trainee(undecided, Recipe(**recipe("full", steps=1, rate=0.0, batch_tokens=0)))
    how = Sampling(4, 1e-4, stop_tokens(undecided, tokenizer))
    prompts = [prompt_ids((Message(role="user", content=text),), tokenizer) for text in ("Why?", "Is the sky blue?")]
    together = answers_to(learner, prompts, 2, how, tokenizer)
    alone = [answers_to(learner, [prompt], 2, how, tokenizer)[0] for prompt in prompts]
    assert [[one.text for one in group] for group in together] == [[one.text for one in group] for group in alone]
    for prompt, group in zip(prompts, together, strict=True):
        assert all(list(one.sample.ids[: len(prompt)]) == prompt for one in group)
        assert not any(one.sample.trained[: len(prompt)].any() for one in group)


def test_advantages_are_those_of_the_papers():
    rewards = np.array([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    plain = advantages(rewards, normalise="none")
    assert plain.tolist() == [[0.75, -0.25, -0.25, -0.25], [0, 0, 0, 0]]
    scaled = advantages(rewards, normalise="std")
    assert scaled[0, 0] == pytest.approx(np.sqrt(3), abs=1e-3)
    assert scaled[1].tolist() == [0, 0, 0, 0]


def test_every_question_comes_once_before_any_comes_again():
    taken = order(5, 2, seed=3)
    first = [next(taken) for _ in range(5)]
    assert sorted(number for numbers in first for number in numbers) == sorted([*range(5), *range(5)])
    again = order(5, 2, seed=3)
    assert [next(again) for _ in range(5)] == first


def test_settings_that_cannot_be_meant_are_refused(bench, undecided):
    inputs = inputs_of(bench, undecided)
    with pytest.raises(ConfigError, match="at least 2 answers"):
        grpo.TRAIN.run(inputs, grpo.Params(group=1, max_tokens=6), bench)
    with pytest.raises(ConfigError, match="leaves no room"):
        grpo.TRAIN.run(inputs, grpo.Params(max_tokens=1000), bench)
