"""Fine-tuning of a real, tiny Llama folder: what is learnt, what stands alone afterwards, and what a kill changes."""

import json
import signal
import subprocess
import sys

import msgspec
import pytest

from line.train.lessons import chats, plan_for, recipe
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.stage import Bench
from tokenworks.line.train import tune
from tokenworks.line.train._replay import replayed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

QUESTIONS = [
    ("What is the sky?", "The sky is blue."),
    ("What is grass?", "Grass is green."),
    ("What is snow?", "Snow is white."),
]
STEPS = 12


@pytest.fixture(autouse=True)
def short_probe(monkeypatch):
    monkeypatch.setattr("tokenworks.line.train._sft_plan.PROBE_S", 0.2)


def plan_of(bench, method, *, steps=STEPS, rate=5e-3, precision="f32"):
    """Store a plan that needs no measurement."""
    return bench.artifacts.put_bytes(plan_for(recipe(method, steps=steps, rate=rate, precision=precision)))


def inputs_of(bench, base, pairs=QUESTIONS * 4):
    return {"train": bench.artifacts.put_bytes(chats(pairs)), "base": bench.artifacts.put_folder(base)}


def read(bench, digest):
    return json.loads(bench.artifacts.get_bytes(digest))


def greedy(folder, question):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    answer = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False, pad_token_id=0
    )
    return tokenizer.decode(answer[0, ids.shape[1] :])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_tuned_folder_stands_alone_and_answers_as_it_was_taught(bench, tiny_causal, method):
    inputs = inputs_of(bench, tiny_causal)
    inputs["plan"] = plan_of(bench, method, steps=60)
    outputs = tune.TRAIN.run(inputs, tune.Params(base="tiny"), bench)
    folder = bench.artifacts.folder(outputs["model"])
    if method == "full":  # adapters alone cannot make random weights speak
        assert greedy(folder, "What is grass?").startswith("Grass is green.<|end|>")
    card = json.loads((folder / "tokenworks.json").read_text())
    assert (card["kind"], card["base"]) == ("chat", "tiny")
    assert "fine-tuned" in card["description"].lower()
    assert "chat_template" in json.loads((folder / "tokenizer_config.json").read_text())
    assert not [path for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".py"}]
    log = read(bench, outputs["log"])
    assert log["loss"][-1] < (0.2 if method == "full" else 0.9) * log["loss"][0]
    assert ("adapter" in outputs) == (method == "lora")


def test_the_adapter_on_the_base_says_what_the_merged_folder_says(bench, tiny_causal):
    from peft import PeftModel

    outputs = tune.TRAIN.run({**inputs_of(bench, tiny_causal), "plan": plan_of(bench, "lora")}, tune.Params(), bench)
    adapter, merged = (bench.artifacts.folder(outputs[name]) for name in ("adapter", "model"))
    assert sorted(path.name for path in adapter.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_causal)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        plain = base(ids).logits
        adapted = PeftModel.from_pretrained(base, adapter).eval()(ids).logits
        whole = transformers.AutoModelForCausalLM.from_pretrained(merged)(ids).logits
    torch.testing.assert_close(adapted, whole, atol=1e-4, rtol=1e-4)
    assert (plain - whole).abs().max() > 0.01


KILLED = """
import os, signal, sys
from pathlib import Path
from tokenworks.core.stage import Bench
from tokenworks.line.train import _fit, tune
from tokenworks.store.artifacts import open_artifacts
root, train, base, plan = Path(sys.argv[1]), *sys.argv[2:]
_fit.CHECKPOINT_EVERY_S = 0.0
def progress(done, total=None, *, unit="", note=""):
    if done == 7:
        os.kill(os.getpid(), signal.SIGKILL)
artifacts = open_artifacts(str(root / "artifacts"), cache=root / "store-cache")
bench = Bench(artifacts, root / "scratch", root / "cache", progress=progress, threads=1)
tune.TRAIN.run({"train": train, "base": base, "plan": plan}, tune.Params(), bench)
"""


def test_a_killed_lora_run_resumes_to_the_same_bytes(bench, tiny_causal, tmp_path):
    inputs = {**inputs_of(bench, tiny_causal), "plan": plan_of(bench, "lora")}
    undisturbed = tune.TRAIN.run(inputs, tune.Params(), other_bench(bench, tmp_path / "undisturbed"))
    command = [sys.executable, "-c", KILLED, str(tmp_path), inputs["train"], inputs["base"], inputs["plan"]]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert (tmp_path / "scratch" / "tune.checkpoint").exists()
    seen = []
    resumed = tune.TRAIN.run(inputs, tune.Params(), watched(bench, lambda done, total=None, **_: seen.append(done)))
    assert seen[0] == 7  # the sixth step was saved, the seventh was not
    assert resumed == undisturbed


def other_bench(bench, scratch):
    scratch.mkdir()
    return Bench(bench.artifacts, scratch, bench.cache, threads=1)


def watched(bench, progress):
    return Bench(bench.artifacts, bench.scratch, bench.cache, progress=progress, threads=1)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("damage", [False, True])
def test_a_stopped_full_run_resumes_to_the_same_bytes_even_from_a_damaged_checkpoint(
    bench, tiny_causal, tmp_path, monkeypatch, damage
):
    inputs = {**inputs_of(bench, tiny_causal), "plan": plan_of(bench, "full")}
    undisturbed = tune.TRAIN.run(inputs, tune.Params(), other_bench(bench, tmp_path / "undisturbed"))

    def stop(done, total=None, *, unit="", note=""):
        if done == 9:
            raise Stopped

    monkeypatch.setattr("tokenworks.line.train._fit.CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(Stopped):
        tune.TRAIN.run(inputs, tune.Params(), watched(bench, stop))
    if damage:
        path = bench.scratch / "tune.checkpoint"
        path.write_bytes(path.read_bytes()[:-100])
    assert tune.TRAIN.run(inputs, tune.Params(), bench) == undisturbed


def test_the_plan_turns_a_budget_into_steps_and_says_why(bench, tiny_causal):
    inputs = inputs_of(bench, tiny_causal)
    plan = read(bench, tune.PLAN.run(inputs, tune.Params(budget="200 tokens", epochs=50), bench)["plan"])
    assert {"steps", "tokens", "parameters", "expected_s", "method", "why"} <= plan.keys()
    assert plan["method"] == "full"
    assert 0 < plan["tokens"] < 600
    assert "tokens/s" in plan["why"]


def test_no_plan_goes_over_the_examples_more_often_than_allowed(bench, tiny_causal):
    params = tune.Params(method="lora", budget="1h", epochs=2)
    plan = read(bench, tune.PLAN.run(inputs_of(bench, tiny_causal), params, bench)["plan"])
    assert plan["method"] == "lora"
    assert plan["trainable"] < plan["parameters"]
    assert plan["epochs"] <= 2.5
    assert "by heart" in plan["why"]


def test_a_budget_that_nobody_understands_is_refused(bench, tiny_causal):
    with pytest.raises(ConfigError, match="three minutes"):
        tune.PLAN.run(inputs_of(bench, tiny_causal), tune.Params(budget="three minutes"), bench)


def test_conversations_that_are_too_long_are_cut_or_skipped_and_counted(bench, tiny_causal):
    pairs = [*QUESTIONS, ("Short?", "long " * 200), ("long " * 200, "Short.")]
    outputs = tune.TRAIN.run(
        {**inputs_of(bench, tiny_causal, pairs), "plan": plan_of(bench, "full", steps=2)}, tune.Params(), bench
    )
    log = read(bench, outputs["log"])
    assert (log["conversations"], log["truncated"], log["skipped"]) == (4, 1, 1)


def test_a_folder_that_is_no_causal_model_is_named(bench, tiny_causal, tmp_path):
    for name, says in (
        ("config.json", "no config.json"),
        ("tokenizer.json", "no tokenizer.json"),
        ("model.safetensors", "safetensors"),
    ):
        folder = tmp_path / f"without-{name}"
        folder.mkdir()
        for path in tiny_causal.iterdir():
            if path.name != name:
                (folder / path.name).write_bytes(path.read_bytes())
        with pytest.raises(DataError, match=says):
            tune.PLAN.run(inputs_of(bench, folder), tune.Params(), bench)


def test_gsm8k_conversations_are_learnt_by_lora(bench, tiny_causal, data_folder):
    path = data_folder / "instruct-eval" / "gsm8k" / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()[:24]]
    inputs = inputs_of(bench, tiny_causal, [(row["question"][:60], row["answer"].split("####")[1]) for row in rows])
    plan = read(bench, tune.PLAN.run(inputs, tune.Params(method="lora", budget="20s", epochs=6), bench)["plan"])
    inputs["plan"] = bench.artifacts.put_bytes(msgspec.json.encode(plan))
    log = read(bench, tune.TRAIN.run(inputs, tune.Params(method="lora"), bench)["log"])
    assert log["conversations"] == 24
    assert log["loss"][-1] < log["loss"][0]


def test_earlier_conversations_are_replayed_in_their_share(bench, tiny_causal):
    earlier = [(f"What is number {number}?", "A number.") for number in range(40)]
    inputs = {**inputs_of(bench, tiny_causal), "plan": plan_of(bench, "full", steps=2)}
    inputs["earlier"] = bench.artifacts.put_bytes(chats(earlier))
    log = read(bench, tune.TRAIN.run(inputs, tune.Params(replay=0.25), bench)["log"])
    assert log["conversations"] == 12 + 4
    for params, rows in ((tune.Params(replay=0.0), chats(earlier)), (tune.Params(), b"")):
        inputs["earlier"] = bench.artifacts.put_bytes(rows)
        assert read(bench, tune.TRAIN.run(inputs, params, bench)["log"])["conversations"] == 12


def test_the_same_seed_replays_the_same_examples_and_never_more_than_there_are():
    numbers = list(range(50))
    assert replayed(numbers, 40, share=0.2, seed=1) == replayed(numbers, 40, share=0.2, seed=1)
    assert len(replayed(numbers, 40, share=0.2, seed=1)) == 10
    assert replayed(numbers, 40, share=0.2, seed=1) != replayed(numbers, 40, share=0.2, seed=2)
    assert replayed(numbers[:3], 40, share=0.5, seed=1) == numbers[:3]
    with pytest.raises(ConfigError, match="a share"):
        replayed(numbers, 40, share=1.0, seed=1)
