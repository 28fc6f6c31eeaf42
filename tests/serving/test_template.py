"""Chat messages to prompts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tokenworks.core.errors import EngineError
from tokenworks.serving.folder import open_folder
from tokenworks.serving.template import ChatTemplate, plain_messages
from tokenworks.serving.tokens import Tokens

TALK = [{"role": "system", "content": " be brief "}, {"role": "user", "content": "Grüße {{ 7 * 7 }}"}]


def test_the_text_is_that_of_transformers(tiny_llama: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = open_folder(tiny_llama)
    wanted = transformers.AutoTokenizer.from_pretrained(str(tiny_llama)).apply_chat_template(
        TALK, tokenize=False, add_generation_prompt=True
    )
    assert ChatTemplate(model.chat_template, model.tokenizer_config).render(TALK) == wanted


def test_a_template_cannot_reach_python() -> None:
    template = ChatTemplate("{{ messages.__class__.__mro__[1].__subclasses__() }}", {})
    with pytest.raises(ValueError, match="unsafe"):
        template.render(TALK)


def test_what_a_template_refuses_is_the_callers_error() -> None:
    with pytest.raises(ValueError, match="roles must alternate"):
        ChatTemplate("{{ raise_exception('roles must alternate') }}", {}).render(TALK)


def test_a_template_that_is_no_jinja_names_the_way_out() -> None:
    with pytest.raises(EngineError, match="chat_template"):
        ChatTemplate("{% for %}", {})


def test_special_tokens_and_json_are_at_hand() -> None:
    source = "{{ bos_token }}{{ eos_token }}{{ messages[0] | tojson }}"
    words = {"bos_token": {"content": "<s>", "special": True}, "eos_token": "</s>"}
    assert ChatTemplate(source, words).render([{"role": "ü"}]) == '<s></s>{"role": "ü"}'


def test_content_parts_are_joined_and_other_parts_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert plain_messages([{"role": "user", "content": parts}]) == [{"role": "user", "content": "ab"}]
    assert plain_messages([{"role": "assistant", "content": None}]) == [{"role": "assistant", "content": ""}]
    with pytest.raises(ValueError, match=r"messages\[0\].*image_url"):
        plain_messages([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}])


def test_a_chat_prompt_gets_no_second_beginning(tiny_llama: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, processors

    folder = shutil.copytree(tiny_llama, tmp_path / "model")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    beginning = [("<|endoftext|>", 0)]
    tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=beginning)
    tokenizer.save(str(folder / "tokenizer.json"))
    model, tokens = open_folder(folder), Tokens(folder)
    reference = transformers.AutoTokenizer.from_pretrained(str(folder))
    prompt = ChatTemplate(model.chat_template, model.tokenizer_config).render(TALK)
    wanted = reference.apply_chat_template(TALK, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert tokens.encode(prompt) == wanted["input_ids"]
    assert tokens.encode("plain") == reference("plain")["input_ids"]
    assert tokens.encode("plain")[0] == 0
