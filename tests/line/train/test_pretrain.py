"""Pretraining as stages: what is planned is done, a killed run ends in the same bytes, the folder is a real Llama."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
import torch
from tokenizers import Tokenizer

from tokenworks.core.corpus import write_parts
from tokenworks.core.document import Document
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.core.ids import canonical_json
from tokenworks.core.stage import Bench
from tokenworks.line.train import pretrain
from tokenworks.line.train.causal.llama import Llama, Shape
from tokenworks.line.train.causal.plan import Plan
from tokenworks.serving.folder import open_folder
from tokenworks.store.artifacts import open_artifacts

WORDS = [
    "def",
    "return",
    "self",
    "value",
    "number",
    "list",
    "name",
    "for",
    "in",
    "range",
    "print",
    "class",
    "import",
    "error",
    "result",
]


def document(number: int, text: str) -> Document:
    return Document(path=f"{number:04d}.py", source="s", sha256="0" * 64, media_type="text/x-python", text=text)


def some_text(number: int) -> str:
    chosen = [WORDS[(number * 7 + i * i * (number % 5 + 1)) % len(WORDS)] for i in range(120)]
    return "\n".join(" ".join(chosen[i : i + 6]) for i in range(0, 120, 6))


def corpus(folder: Path, texts: list[str]) -> Path:
    folder.mkdir(parents=True)
    write_parts(folder, [document(number, text) for number, text in enumerate(texts)])
    return folder


def plan_for(**changes) -> Plan:
    shape = Shape(vocabulary=400, width=64, layers=2, heads=2, hidden=96, context=32, tied=False)
    fields = {
        "method": "test", "why": "test", "steps": 60, "tokens": 60 * 4 * 32, "parameters": shape.parameters,
        "expected_s": 1.0, "budget": "1s", "seed": 3, "shape": shape, "batch": 4, "dtype": "bfloat16", "threads": 1,
        "vocabulary": 400, "corpus_bytes": 1, "share": 1.0, "unique_tokens": 1, "epochs": 1.0, "measured": [],
    }  # fmt: skip
    return Plan(**(fields | changes))


class Place:
    """Artifacts, a corpus and a scratch folder."""

    def __init__(self, root: Path, train: list[str], held_out: list[str]) -> None:
        self.root = root
        self.artifacts = open_artifacts(str(root / "artifacts"), cache=root / "cache")
        self.inputs = {
            "train": self.artifacts.put_folder(corpus(root / "train", train)),
            "held_out": self.artifacts.put_folder(corpus(root / "held_out", held_out)),
        }

    def bench(self, name: str = "scratch") -> Bench:
        scratch = self.root / name
        scratch.mkdir(exist_ok=True)
        return Bench(self.artifacts, scratch, self.root / "cache", threads=1)

    def plan(self, plan: Plan) -> dict[str, str]:
        return self.inputs | {"plan": self.artifacts.put_bytes(canonical_json(plan))}

    def train(self, plan: Plan, scratch: str = "scratch") -> dict[str, str]:
        return dict(pretrain.TRAIN.run(self.plan(plan), pretrain.Params(), self.bench(scratch)))

    def log(self, outputs: dict[str, str]) -> dict:
        return json.loads(self.artifacts.get_bytes(outputs["log"]))


@pytest.fixture
def place(tmp_path) -> Place:
    return Place(tmp_path, [some_text(i) for i in range(40)], [some_text(i) for i in range(100, 106)])


def test_a_token_budget_is_planned_exactly_and_the_training_follows_it(place):
    outputs = pretrain.PLAN.run(place.inputs, pretrain.Params(budget="6k tokens", context=32), place.bench("p"))
    plan = json.loads(place.artifacts.get_bytes(outputs["plan"]))
    assert plan["tokens"] <= 6000
    assert plan["tokens"] == plan["steps"] * plan["batch"] * 32
    assert {"method", "why", "parameters", "expected_s"} <= plan.keys()
    assert [one["parameters"] for one in plan["measured"]] == [plan["parameters"]]
    made = pretrain.TRAIN.run({**place.inputs, "plan": outputs["plan"]}, pretrain.Params(), place.bench("t"))
    log = place.log(made)
    assert log["tokens"] == plan["tokens"] or log["stopped_early"]
    assert log["losses"][-1][1] < log["losses"][0][1]


def test_the_folder_gives_the_same_logits_in_transformers(place):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plan = plan_for(steps=20)
    folder = place.artifacts.folder(place.train(plan)["model"])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "def value(self):\n    return 'Größe 🚀'  # <|endoftext|>"
    ids = tokenizer(text, return_tensors="pt").input_ids[:, :32]
    state = {name: value.float() for name, value in model.state_dict().items()}
    ours = _logits(plan.shape, state, ids)
    with torch.no_grad():
        theirs = model(ids).logits
    assert type(model).__name__ == "LlamaForCausalLM"
    assert torch.allclose(ours, theirs, atol=2e-4, rtol=1e-3)
    plain = "def value(self):\n    return 'Größe 🚀'"
    assert tokenizer.decode(tokenizer(plain).input_ids) == plain
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hello"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


def _logits(shape: Shape, state: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Run our own forward on weights read back under Hugging Face's names."""
    layers = [f"model.layers.{number}." for number in range(shape.layers)]

    def fused(*names: str) -> torch.Tensor:
        return torch.stack([torch.cat([state[f"{layer}{name}.weight"] for name in names]) for layer in layers])

    weights = {
        "embed": state["model.embed_tokens.weight"],
        "head": state["lm_head.weight"],
        "qkv": fused("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "out": fused("self_attn.o_proj"),
        "gate_up": fused("mlp.gate_proj", "mlp.up_proj"),
        "down": fused("mlp.down_proj"),
    }
    with torch.no_grad():
        return Llama(shape, torch.float32).hidden(weights, ids) @ weights["head"].t()


def test_the_folder_says_honestly_what_it_is_and_holds_nothing_that_unpickles(place):
    folder = place.artifacts.folder(place.train(plan_for(steps=5))["model"])
    about = json.loads((folder / "tokenworks.json").read_bytes())
    assert about["kind"] == "complete"
    assert about["base"] == "from-scratch"
    assert "must not be taken for a general assistant" in about["description"]
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "tokenworks.json",
    }  # fmt: skip


def test_what_ends_a_turn_of_its_template_ends_an_answer(place):
    """Or a model that is tuned from this one would never stop talking."""
    folder = place.artifacts.folder(place.train(plan_for(steps=5))["model"])
    model = open_folder(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert model.stop_ids == (tokenizer.token_to_id("<|endoftext|>"), tokenizer.token_to_id("<|im_end|>"))
    assert "<|im_end|>" in model.chat_template


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_same_plan_gives_the_same_bytes(place, dtype):
    plan = plan_for(steps=25, dtype=dtype)
    assert place.train(plan, "one")["model"] == place.train(plan, "two")["model"]


CHILD = """
import functools, sys
from pathlib import Path
import msgspec
from tokenworks.core.stage import Bench
from tokenworks.line.train import pretrain
from tokenworks.line.train.causal import loop
from tokenworks.store.artifacts import open_artifacts
root = Path(sys.argv[1]); inputs = msgspec.json.decode(sys.argv[2])
loop.train = functools.partial(loop.train, checkpoint_s=0.02)
def tell(done, total=None, *, unit="", note=""):
    print(done, flush=True) if unit == "steps" else None
artifacts = open_artifacts(str(root / "artifacts"), cache=root / "cache")
bench = Bench(artifacts, root / "killed", root / "cache", tell, 1)
out = pretrain.TRAIN.run(inputs, pretrain.Params(), bench)
print("model", out["model"], flush=True)
"""


def start(place: Place, inputs: dict[str, str]) -> subprocess.Popen[str]:
    (place.root / "killed").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(place.root), json.dumps(inputs)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_a_run_killed_twice_ends_in_the_same_bytes_as_an_undisturbed_one(place):
    plan = plan_for(steps=80)
    inputs = place.plan(plan)
    reached = 0
    for kill_at in (15, 45):
        with start(place, inputs) as child:
            assert child.stdout is not None
            for line in child.stdout:
                reached = int(float(line))
                if reached >= kill_at:
                    os.killpg(child.pid, signal.SIGKILL)
                    break
        assert child.returncode == -signal.SIGKILL
    with start(place, inputs) as child:
        out, _ = child.communicate(timeout=120)
    first = int(float(out.split()[0]))
    assert first > 15, "the third run started over instead of going on"
    assert out.split()[-1] == place.train(plan, "undisturbed")["model"]


def test_a_corrupt_checkpoint_is_passed_over_and_said(place):
    plan = plan_for(steps=40)
    whole = place.train(plan, "whole")
    place.train(msgspec.structs.replace(plan, steps=40), "hurt")
    folder = place.root / "hurt" / "checkpoints"
    newest = max(folder.glob("*.safetensors"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(bytes(data))
    again = place.train(plan, "hurt")
    assert again["model"] == whole["model"]
    assert "damaged" in place.log(again)["notes"][0]


@pytest.mark.parametrize(
    "texts",
    [["x"], ["word " * 400], ["Größe 🚀 naïve \u202e \x00 \ud7ff"], ["", "a", "", "b\n"]],
    ids=["one token", "one document", "unicode", "nearly nothing"],
)
def test_tiny_corpora_train(tmp_path, texts):
    place = Place(tmp_path, texts, [])
    outputs = pretrain.PLAN.run(place.inputs, pretrain.Params(budget="2k tokens", context=16), place.bench("p"))
    made = pretrain.TRAIN.run({**place.inputs, "plan": outputs["plan"]}, pretrain.Params(), place.bench("t"))
    assert (place.artifacts.folder(made["model"]) / "model.safetensors").stat().st_size > 0


def test_a_corpus_without_text_is_a_clear_error(tmp_path):
    place = Place(tmp_path, ["", ""], [])
    with pytest.raises(DataError, match="no text to pretrain on; all 2 documents"):
        pretrain.PLAN.run(place.inputs, pretrain.Params(budget="1k tokens"), place.bench())


def test_a_budget_that_cannot_be_meant_names_what_can(place):
    with pytest.raises(ConfigError, match=r"budget '3 parsecs' is not understood; write \"90s\""):
        pretrain.PLAN.run(place.inputs, pretrain.Params(budget="3 parsecs"), place.bench())


def test_a_time_budget_is_kept_by_the_plan(place):
    begun = time.monotonic()
    outputs = pretrain.PLAN.run(place.inputs, pretrain.Params(budget="10s", context=32), place.bench("p"))
    plan = json.loads(place.artifacts.get_bytes(outputs["plan"]))
    assert plan["expected_s"] <= 10.0 or plan["steps"] == 1
    assert plan["epochs"] <= 16.5
    assert time.monotonic() > begun
