"""Commands that people are shown, on pages and in the program's own words, held against the command line."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from pages import ROOT, blocks, prose, spans
from tokenworks.cli.main import app

TREE: Any = typer.main.get_command(app)
_LINE = re.compile(r"^\s*(?:\$ )?((?:[A-Z_]+=\S+ )*(?:nice |sudo )*tokenworks [a-z-].*)$")
_OURS = re.compile(
    r"tokenworks ((?:[a-z|/-]+|-[a-z-]+)(?: [\w|{}./@=-]+)*)(?!\w*: )"
)  # `tokenworks worker: ...` begins an error


def on_page(page: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, words) of each command of ours on a page, in blocks and in backticks."""
    for block in blocks(page):
        if block.kind in ("", "console", "bash"):
            for line in re.sub(r"\\\n\s*", " ", block.text).splitlines():
                if shown := _LINE.match(line):
                    yield block.where, words(shown[1])
    for span in spans(prose(page)):
        if span.startswith("tokenworks "):
            yield str(page.relative_to(ROOT)), words(span)


def in_source(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (place, words) of each command of ours that a string of the file tells somebody to type."""
    tree = ast.parse(file.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        for shown in _OURS.findall(text):
            yield f"{file.relative_to(ROOT)}:{node.lineno}", words(f"tokenworks {shown}")


def words(line: str) -> list[str]:
    """Return the words of a shell line after `tokenworks`, up to a pipe or a redirection."""
    try:
        said = shlex.split(line, comments=True)
    except ValueError:  # a quote that is closed further down
        said = line.split()
    said = said[said.index("tokenworks") + 1 :]
    ends = [at for at, word in enumerate(said) if word in ("|", ">", ">>", "&", "&&", ";", "<")]
    return [word.rstrip(",;:.") for word in (said[: ends[0]] if ends else said)]


def fault(said: list[str]) -> str:
    """Return what the command line would not understand of `said`; empty where all is well."""
    command, known, needs_value = TREE, _options(TREE), False
    for word in said:
        if word.startswith("-") and word.lstrip("-")[:1].isalpha():
            name = word.split("=")[0]
            if name not in known:
                return f"{name} is no option; there are {', '.join(sorted(known))}"
            needs_value = known[name] and "=" not in word
        elif needs_value:
            needs_value = False
        elif hasattr(command, "commands") and not (names := re.split(r"[|/]", word))[0].isupper():
            unknown = [name for name in names if name not in command.commands]
            if unknown and command.name != "turn":  # `turn TASK` is `turn run TASK`
                return f"there is no command {unknown[0]}; there are {', '.join(command.commands)}"
            command = command.commands["run" if unknown else names[0]]
            known |= _options(command)
    return ""


def _options(command: Any) -> dict[str, bool]:
    """Return the options of a command and whether each takes a value."""
    named = {name: one for one in command.params for name in (*one.opts, *one.secondary_opts)}
    return {"-h": False, "--help": False} | {
        name: not getattr(one, "is_flag", False) for name, one in named.items() if name.startswith("-")
    }
