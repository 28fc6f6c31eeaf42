"""The same weights with examples in the template: what engines then render, what fits, and what is replaced."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from line.train.lessons import chats
from tokenworks.core.errors import ConfigError, DataError
from tokenworks.line.train import prompt
from tokenworks.line.train._baked import bake, read_template, unbaked
from tokenworks.line.train._shots import spread
from tokenworks.serving.folder import open_folder
from tokenworks.serving.template import ChatTemplate

pytest.importorskip("transformers")
pytest.importorskip("jinja2")

PLAIN = "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}\n{% endfor %}"
ASK = [{"role": "user", "content": "Why?"}]
ROWS = [("Is the sky blue?", "yes"), ("Is the sky red?", "no"), ("What is 2 + 2?", "4"), ("What is 3 + 3?", "6")]


def shot(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def render(template, messages):
    return str(ChatTemplate(template, {}).render(messages))


def made(bench, base, params, rows=ROWS):
    inputs = {"train": bench.artifacts.put_bytes(chats(rows)), "base": bench.artifacts.put_folder(base)}
    inputs |= prompt.PLAN.run(inputs, params, bench)
    return prompt.TRAIN.run(inputs, params, bench)


def test_the_product_renders_its_examples_before_every_question_and_keeps_the_weights(bench, tiny_llama):
    outputs = made(bench, tiny_llama, prompt.Params(system="Answer in one word.", examples=2, max_tokens=32))
    folder = bench.artifacts.folder(outputs["model"])
    model = open_folder(folder)
    text = str(ChatTemplate(model.chat_template, model.tokenizer_config).render(ASK))
    assert "<|system|>Answer in one word.<|end|>" in text
    assert text.count("<|user|>") == 3
    assert text.rstrip().endswith("<|assistant|>")
    theirs = [hashlib.sha256((at / "model.safetensors").read_bytes()).digest() for at in (folder, tiny_llama)]
    assert theirs[0] == theirs[1]
    whole = bench.artifacts.manifest(outputs["model"])
    assert (
        whole["model.safetensors"]
        == bench.artifacts.manifest(bench.artifacts.put_folder(tiny_llama))["model.safetensors"]
    )


def test_transformers_renders_the_same_text_as_our_engines(bench, tiny_llama):
    from transformers import AutoTokenizer

    folder = bench.artifacts.folder(made(bench, tiny_llama, prompt.Params(examples=2, max_tokens=32))["model"])
    theirs = AutoTokenizer.from_pretrained(folder).apply_chat_template(ASK, tokenize=False, add_generation_prompt=True)
    model = open_folder(folder)
    assert theirs == ChatTemplate(model.chat_template, model.tokenizer_config).render(ASK)


def test_a_second_prompt_replaces_the_first_one(bench, tiny_llama):
    first = made(bench, tiny_llama, prompt.Params(system="FIRST", examples=2, max_tokens=32))
    second = made(
        bench, bench.artifacts.folder(first["model"]), prompt.Params(system="SECOND", examples=1, max_tokens=32)
    )
    direct = made(bench, tiny_llama, prompt.Params(system="SECOND", examples=1, max_tokens=32))
    template = read_template(bench.artifacts.folder(second["model"]))
    assert "FIRST" not in template
    assert template == read_template(bench.artifacts.folder(direct["model"]))


def test_equal_inputs_give_equal_folders(bench, tiny_llama):
    params = prompt.Params(examples=3, max_tokens=32)
    assert made(bench, tiny_llama, params) == made(bench, tiny_llama, params)


def test_the_callers_system_message_stands_after_ours():
    template = bake(PLAIN, system="Be brief.", shots=[shot("a", "b")])
    said = render(template, [{"role": "system", "content": "Be kind."}, *ASK])
    assert said == "<system>Be brief.\n\nBe kind.\n<user>a\n<assistant>b\n<user>Why?\n"
    assert render(template, ASK) == "<system>Be brief.\n<user>a\n<assistant>b\n<user>Why?\n"
    only_shots = bake(PLAIN, system="", shots=[shot("a", "b")])
    assert render(only_shots, ASK) == "<user>a\n<assistant>b\n<user>Why?\n"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), st.sampled_from(["", "\n", "  ", "{# x #}"]))
def test_any_text_comes_out_as_it_went_in_and_the_template_comes_back(text, before):
    text = text + "{{ messages }}{% endif %}{#- tokenworks: end #}\\u0041'\"\n"
    template = bake(before + PLAIN, system=text, shots=[shot(text, "b")])
    assert unbaked(template) == before + PLAIN
    assert f"<user>{text}\n<assistant>b\n<user>Why?" in render(template, ASK)
    assert render(bake(template, system="", shots=[]), ASK) == render(before + PLAIN, ASK)


def test_only_so_many_examples_are_taken_as_the_context_holds(bench, tiny_llama):
    rows = [(f"Question {number}: {'word ' * 30}?", "yes") for number in range(8)]
    outputs = made(bench, tiny_llama, prompt.Params(examples=8, max_tokens=32), rows)
    log = json.loads(bench.artifacts.get_bytes(outputs["log"]))
    assert 0 < log["examples"] < 8
    assert log["examples"] + log["left_out"] == 8
    assert log["tokens"] <= log["room"]


def test_what_does_not_fit_is_refused_with_the_way_out(bench, tiny_llama):
    with pytest.raises(DataError, match="longer context"):
        made(bench, tiny_llama, prompt.Params(max_tokens=32), [("word " * 300, "yes")])
    with pytest.raises(DataError, match="shorten it"):
        made(bench, tiny_llama, prompt.Params(system="word " * 300, max_tokens=32))
    with pytest.raises(ConfigError, match="share"):
        made(bench, tiny_llama, prompt.Params(share=1.5))


def test_examples_come_from_different_clusters_and_are_always_the_same():
    texts = [f"how do I reset my password {n}" for n in range(20)] + [f"weather tomorrow in town {n}" for n in range(5)]
    chosen = spread(texts, 2)
    assert chosen[0] < 20 <= chosen[1]  # one of each, the larger cluster first
    assert spread(texts, 2) == chosen
    assert len(spread(["same"] * 9, 4)) == 1
    assert spread([], 3) == []
