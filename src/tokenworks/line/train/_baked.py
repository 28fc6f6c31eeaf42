"""A system prompt and examples written into a folder's chat template, so that every engine shows them to the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.files import write_atomic

BEGIN, END = "{#- tokenworks: prompt #}", "{#- tokenworks: end #}{{ '' }}"
_BAKED = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
Turns = Sequence[dict[str, str]]


def bake(template: str, *, system: str, shots: Sequence[Turns]) -> str:
    """Return `template` with `system` and `shots` before every conversation; what was baked in before is replaced.

    A caller's own system message stands after ours in the same turn: templates know one of them, at the start.
    """
    plain = unbaked(template)
    if not system and not shots:
        return plain
    turns = ", ".join(_turn(turn) for shot in shots for turn in shot)
    first = _literal(system)
    caller = "messages[0]['content']"
    joined = f"{first} + '\\n\\n' + {caller}" if system else caller
    alone = f"[{{'role': 'system', 'content': {first}}}]" if system else "[]"
    return (
        f"{BEGIN}{{%- if messages and messages[0]['role'] in ['system', 'developer'] -%}}"
        f"{{%- set messages = [{{'role': messages[0]['role'], 'content': {joined}}}] + [{turns}] + messages[1:] -%}}"
        f"{{%- else -%}}{{%- set messages = {alone} + [{turns}] + messages -%}}{{%- endif -%}}{END}{plain}"
    )


def unbaked(template: str) -> str:
    """Return `template` without what `bake` put before it."""
    return _BAKED.sub("", template, count=1)


def read_template(folder: Path) -> str:
    """Return the chat template of a folder, as engines find it; empty where there is none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    template = _tokenizer_config(folder).get("chat_template") or ""
    if isinstance(template, list):
        return str({entry["name"]: entry["template"] for entry in template}.get("default", ""))
    return str(template)


def replace_template(folder: Path, template: str) -> None:
    """Put `template` where engines look first in `folder`; each file is replaced in one step, so links stay whole."""
    if (folder / "chat_template.jinja").is_file():
        write_atomic(folder / "chat_template.jinja", template.encode())
        return
    config = {**_tokenizer_config(folder), "chat_template": template}
    write_atomic(folder / "tokenizer_config.json", msgspec.json.format(msgspec.json.encode(config), indent=2) + b"\n")


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.is_file() else {}
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is not a JSON object ({error}); copy it again") from None


def _turn(turn: dict[str, str]) -> str:
    return f"{{'role': {_literal(turn['role'])}, 'content': {_literal(turn['content'])}}}"


def _literal(text: str) -> str:
    """Return `text` as a string of Jinja, which reads JSON's escapes; braces cannot end the tag they stand in."""
    quoted = msgspec.json.encode(text).decode()
    return quoted.replace("{", "\\u007b").replace("}", "\\u007d").replace("#", "\\u0023").replace("%", "\\u0025")
