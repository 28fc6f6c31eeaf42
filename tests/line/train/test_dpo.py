"""Preference tuning of a real, tiny Llama: the objective, what moves, what a stop changes, and what is refused."""

import json

import numpy as np
import pytest

from line.train.lessons import chats, plan_for, recipe
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.stage import Bench
from tokenworks.line.train import dpo
from tokenworks.line.train._chat_tokens import Sample
from tokenworks.line.train._dpo import dpo_loss, pair_logps
from tokenworks.line.train._preferences import Pair, read_preferences, tokenize_pairs
from tokenworks.line.train._sft import Recipe, trainee
from tokenworks.line.train.tune import tokenizer_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PAIRS = [
    ("What is the sky?", "The sky is blue.", "No idea."),
    ("What is grass?", "Grass is green.", "Ask someone else."),
    ("What is snow?", "Snow is white.", "Who knows."),
    ("What is coal?", "Coal is black.", "It is late."),
]
STEPS = 12


@pytest.fixture(autouse=True)
def short_probe(monkeypatch):
    monkeypatch.setattr("tokenworks.line.train._sft_plan.PROBE_S", 0.1)


def jsonl(pairs=PAIRS):
    rows = ({"messages": [{"role": "user", "content": q}], "chosen": c, "rejected": r} for q, c, r in pairs)
    return "\n".join(json.dumps(row) for row in rows).encode()


def conversations(pairs):
    return chats((question, chosen) for question, chosen, _ in pairs)


def recipe_of(method, *, steps=STEPS, rate=1e-3):
    return recipe(method, steps=steps, rate=rate, batch_tokens=100)


def inputs_of(bench, base, method, **how):
    return {
        "pairs": bench.artifacts.put_bytes(jsonl()),
        "base": bench.artifacts.put_folder(base),
        "plan": bench.artifacts.put_bytes(plan_for(recipe_of(method, **how))),
    }


def log_of(bench, outputs):
    return json.loads(bench.artifacts.get_bytes(outputs["log"]))


def margin(folder, pairs=PAIRS):
    """How many nats more the model in `folder` gives the chosen answers."""
    learner = trainee(folder, Recipe(**recipe_of("full")))
    tokenizer, _ = tokenizer_of(folder)
    found = tokenize_pairs(read_preferences(jsonl(pairs)), tokenizer, max_length=128)
    with torch.no_grad():
        logps = pair_logps(learner, found.pairs)
    return float((logps[:, 0] - logps[:, 1]).mean())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_tuned_folder_prefers_the_chosen_answers_more_than_its_base(bench, tiny_llama, method):
    rate = 1e-3 if method == "full" else 1e-2
    outputs = dpo.TRAIN.run(inputs_of(bench, tiny_llama, method, rate=rate), dpo.Params(base="tiny"), bench)
    log = log_of(bench, outputs)
    assert log["loss"][0] == pytest.approx(0.69315, abs=1e-4)  # log 2: nothing has moved yet
    assert log["loss"][-1] < 0.9 * log["loss"][0]
    folder = bench.artifacts.folder(outputs["model"])
    assert margin(folder) > margin(tiny_llama) + 1
    assert json.loads((folder / "tokenworks.json").read_text())["kind"] == "chat"
    assert ("adapter" in outputs) == (method == "lora")


def test_the_first_step_of_trl_has_the_same_loss_and_margins(bench, tiny_llama, tmp_path):
    """The field's library as oracle, for weights that have left the reference."""
    trl = pytest.importorskip("trl")
    import datasets

    outputs = dpo.TRAIN.run(inputs_of(bench, tiny_llama, "full"), dpo.Params(), bench)
    moved = bench.artifacts.folder(outputs["model"])
    rows = [{"prompt": f"Q: {q} A:", "chosen": f" {c}", "rejected": f" {r}"} for q, c, r in PAIRS]
    arguments = trl.DPOConfig(
        output_dir=str(tmp_path / "trl"), per_device_train_batch_size=len(rows), beta=0.1, report_to=[], use_cpu=True,
        bf16=False, fp16=False, gradient_checkpointing=False, disable_tqdm=True, logging_steps=1, max_steps=1,
        learning_rate=0.0,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(moved, dtype=torch.float32),
        ref_model=transformers.AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32),
        args=arguments, processing_class=tokenizer_of(tiny_llama)[0], train_dataset=datasets.Dataset.from_list(rows),
    )  # fmt: skip
    theirs = []
    step = trainer.compute_loss
    trainer.compute_loss = lambda *given, **named: theirs.append(step(*given, **named)) or theirs[-1]
    trainer.train()
    found = [pair_of(row) for row in trainer.train_dataset]  # the very tokens, which trl ends with its own mark
    with torch.no_grad():
        known = pair_logps(trainee(tiny_llama, Recipe(**recipe_of("full"))), found)
        ours, margins = dpo_loss(pair_logps(trainee(moved, Recipe(**recipe_of("full"))), found), known, beta=0.1)
    assert float(margins.mean()) > 1
    assert float(theirs[0]) == pytest.approx(float(ours), abs=1e-5)


def pair_of(row):
    def sample(answer):
        ids = np.array(row["prompt_ids"] + answer)
        return Sample(ids, np.arange(len(ids)) >= len(row["prompt_ids"]))

    return Pair(sample(row["chosen_ids"]), sample(row["rejected_ids"]))


class Stopped(Exception):
    pass


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_stopped_run_resumes_to_the_same_bytes(bench, tiny_llama, tmp_path, monkeypatch, method):
    inputs = {**inputs_of(bench, tiny_llama, method), "train": bench.artifacts.put_bytes(conversations(PAIRS))}
    other = tmp_path / "undisturbed"
    other.mkdir()
    undisturbed = dpo.TRAIN.run(inputs, dpo.Params(), Bench(bench.artifacts, other, bench.cache, threads=1))

    def stop(done, total=None, *, unit="", note=""):
        if unit == "steps" and done == 7:
            raise Stopped

    monkeypatch.setattr("tokenworks.line.train._fit.CHECKPOINT_EVERY_S", 0.0)
    watched = Bench(bench.artifacts, bench.scratch, bench.cache, progress=stop, threads=1)
    with pytest.raises(Stopped):
        dpo.TRAIN.run(inputs, dpo.Params(), watched)
    assert (bench.scratch / "dpo.checkpoint").exists()
    assert dpo.TRAIN.run(inputs, dpo.Params(), bench) == undisturbed


def test_replay_keeps_earlier_answers_likelier_than_preferences_alone(bench, tiny_llama):
    inputs = inputs_of(bench, tiny_llama, "full", steps=20)
    earlier = [("What is iron?", "Iron is grey and hard.", "x")]
    inputs["train"] = bench.artifacts.put_bytes(conversations(earlier))
    with_replay = dpo.TRAIN.run(inputs, dpo.Params(replay=0.5), bench)
    (bench.scratch / "dpo.checkpoint").unlink(missing_ok=True)
    without = dpo.TRAIN.run(inputs, dpo.Params(replay=0.0), bench)
    probe = [("What is iron?", "Iron is grey and hard.", "Iron is a bird.")]
    kept, lost = (margin(bench.artifacts.folder(one["model"]), probe) for one in (with_replay, without))
    assert kept > lost
    assert log_of(bench, with_replay)["sft_loss"][-1] < log_of(bench, with_replay)["sft_loss"][0]


def test_the_plan_buys_whole_passes_and_a_gentler_rate(bench, tiny_llama):
    inputs = {name: value for name, value in inputs_of(bench, tiny_llama, "full").items() if name != "plan"}
    plan = json.loads(bench.artifacts.get_bytes(dpo.PLAN.run(inputs, dpo.Params(budget="1h", epochs=2), bench)["plan"]))
    assert plan["method"] == "full"
    assert 1 < plan["epochs"] <= 2.5
    assert plan["recipe"]["learning_rate"] == pytest.approx(1e-4)
    assert plan["steps"] == plan["recipe"]["steps"]


@pytest.mark.parametrize(("change", "says"), [
    ({"chosen": "Same.", "rejected": " Same. "}, "the same answer"),
    ({"chosen": ""}, '"chosen" is '),
    ({"rejected": None}, '"rejected" is '),
    ({"messages": []}, "prompt"),
    ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "ends with an assistant"),
])  # fmt: skip
def test_a_pair_that_prefers_nothing_is_named_by_its_line(change, says):
    row = {"messages": [{"role": "user", "content": "Why?"}], "chosen": "So.", "rejected": "No."} | change
    with pytest.raises(DataError) as caught:
        read_preferences(jsonl() + b"\n" + json.dumps(row).encode())
    assert "line 5: " in str(caught.value)
    assert says in str(caught.value)


def test_no_pairs_at_all_is_said():
    with pytest.raises(DataError, match="there are none"):
        read_preferences(b"\n")


def test_a_pair_too_long_is_skipped_never_cut(bench, tiny_llama):
    tokenizer, _ = tokenizer_of(tiny_llama)
    pairs = [*PAIRS, ("Why?", "word " * 300, "other " * 300)]
    found = tokenize_pairs(read_preferences(jsonl(pairs)), tokenizer, max_length=64)
    assert (len(found.pairs), found.skipped) == (4, 1)
    with pytest.raises(DataError, match="none of 1"):
        tokenize_pairs(read_preferences(jsonl(pairs[-1:])), tokenizer, max_length=64)


def test_a_loss_that_is_no_number_stops_without_a_model(bench, tiny_llama):
    with pytest.raises(DataError, match="lower"):
        dpo.TRAIN.run(inputs_of(bench, tiny_llama, "full", rate=1e30), dpo.Params(), bench)
    assert not (bench.scratch / "model").exists()


def test_settings_that_cannot_be_meant_are_refused(bench, tiny_llama):
    for params in (dpo.Params(beta=0), dpo.Params(replay=1.0)):
        with pytest.raises(ConfigError):
            dpo.TRAIN.run(inputs_of(bench, tiny_llama, "full"), params, bench)
