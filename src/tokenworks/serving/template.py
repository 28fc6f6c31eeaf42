"""Turn chat messages into the prompt that a model was trained on, by the template in its own folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tokenworks.core.errors import EngineError, MissingExtraError
from tokenworks.serving.engine import ChatPrompt

# `{% generation %}` marks what the assistant says, for training; a prompt reads the same without it.
_MARK = re.compile(r"(\{%-?\s*)(end)?generation(\s*-?%\})")


class ChatTemplate:
    """A compiled template; gives the same text as `apply_chat_template` of transformers.

    The template comes with the model, so it runs in Jinja's sandbox: it can read the messages and nothing else.
    """

    def __init__(self, source: str, tokenizer_config: Mapping[str, Any]) -> None:
        try:
            from jinja2 import ext  # optional: encoders need no template
            from jinja2.exceptions import TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise MissingExtraError("chat with a model's own template", "generate") from None
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[ext.loopcontrols])
        source = _MARK.sub(lambda tag: f"{tag[1]}{'endif' if tag[2] else 'if true'}{tag[3]}", source)
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
        self._error = TemplateError
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise EngineError(
                f"the model's chat template is not valid Jinja ({error}); repair chat_template"
            ) from error
        self._words = {
            name: _content(value) for name, value in tokenizer_config.items() if name.endswith("_token") and value
        }

    def render(self, messages: Sequence[Mapping[str, Any]]) -> ChatPrompt:
        """Return the prompt up to where the model should answer. Raises `ValueError` where the template refuses."""
        try:
            return ChatPrompt(self._template.render(messages=messages, add_generation_prompt=True, **self._words))
        except self._error as error:
            raise ValueError(f"the model's chat template refuses these messages: {error}") from error


def _content(token: Any) -> str:
    """Return the text of a special token, which is a string or an object with a `content`."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _to_json(value: Any, indent: int | None = None) -> str:
    import json  # templates are trained on the spacing of the standard library's writer

    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> str:
    from jinja2.exceptions import TemplateError

    raise TemplateError(message)


def plain_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages whose content parts are joined to text; raise `ValueError` on parts that are not text."""
    plain = []
    for place, message in enumerate(messages):
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(_part_text(part, place) for part in content)
        plain.append({**message, "content": "" if content is None else content})
    return plain


def _part_text(part: Any, place: int) -> str:
    if isinstance(part, dict) and part.get("type") in {"text", "refusal"}:
        return str(part.get("text", part.get("refusal", "")))
    kind = part.get("type") if isinstance(part, dict) else type(part).__name__
    raise ValueError(f"messages[{place}].content has a part of type {kind!r}; this model reads text only")
