"""Write the two example tasks: `route` (which module answers this?) and `complete` (a causal model from scratch)."""

from __future__ import annotations

import ast
import os
import random
import sysconfig
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.files import write_atomic

NOT_TAUGHT = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "idlelib", "lib2to3"}
    | {"ensurepip", "turtledemo", "pydoc_data"}
)
FEWEST, MOST = 20, 250  # examples of one module; below, it cannot be measured; above, it drowns the others
LONGEST = 400  # characters of one example

BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # of a statement, in the order of its fields
ROUTE = """\
# Which module of the standard library answers this question or docstring?
[task]
name = "route"
kind = "classify"
owner = "{owner}"
label = "public"

[data]
examples = "route.jsonl"
licence = "PSF-2.0"

[model]
base = "minilm"

[check]
metric = "accuracy"
margin = 0.02
"""

COMPLETE = """\
# A small causal model, pretrained from scratch on the standard library's own sources.
[task]
name = "complete"
kind = "complete"
owner = "{owner}"
label = "public"

[data]
sources = [{sources}]
include = ["*.py"]
exclude = ["test", "tests", "idle_test", "site-packages", "dist-packages"]
licence = "PSF-2.0"

[model]
base = "from-scratch"
budget = "{budget}"

[check]
metric = "bits_per_byte"
held_out = 0.05
"""


class Example(msgspec.Struct, frozen=True):
    """A text and the module that it is about."""

    text: str
    label: str


def write_example(folder: Path, *, owner: str, budget: str = "3m", library: Path | None = None) -> list[Path]:
    """Write examples and task files into `folder`; return the task files, first to run first.

    `route.jsonl` holds the first paragraph of each docstring; `traffic.jsonl` holds the others: requests that the
    first model has not seen, with the right answers, to try feedback and a turn with. Equal libraries give equal
    files. Raises `DataError` when this Python was installed without its sources.
    """
    library = library or Path(sysconfig.get_paths()["stdlib"])
    first, later = _examples(library)
    if len({example.label for example in first}) < 10:
        raise DataError(
            f"{library}: this Python has no readable standard library sources; use --docs DIR or --task FILE"
        )
    encode = msgspec.json.Encoder().encode_lines
    write_atomic(folder / "route.jsonl", encode(first))
    write_atomic(folder / "traffic.jsonl", encode(later))
    write_atomic(folder / "route.toml", ROUTE.format(owner=owner).encode())
    source = msgspec.json.encode(str(library)).decode()
    write_atomic(folder / "complete.toml", COMPLETE.format(owner=owner, sources=source, budget=budget).encode())
    return [folder / "route.toml", folder / "complete.toml"]


def _examples(library: Path) -> tuple[list[Example], list[Example]]:
    """Return the first paragraphs and the later ones of all docstrings, without those that two modules share."""
    paragraphs = list(_paragraphs(library))
    first = _of_one_module(example for position, example in paragraphs if position == 0)
    known = {example.text.lower() for example in first}
    later = _of_one_module(example for position, example in paragraphs if position > 0)
    later = [example for example in later if example.text.lower() not in known]
    rng = random.Random(0)
    rng.shuffle(first)
    rng.shuffle(later)
    counts = Counter(example.label for example in first)
    first = _at_most(MOST, [example for example in first if counts[example.label] >= FEWEST])
    taught = {example.label for example in first}
    return first, _at_most(MOST, [example for example in later if example.label in taught])


def _of_one_module(examples: Iterable[Example]) -> list[Example]:
    """Keep each text once, and only where a single module says it: else the right answer is not defined."""
    said: dict[str, Example | None] = {}
    for example in examples:
        known = said.setdefault(example.text.lower(), example)
        if known is not None and known.label != example.label:
            said[example.text.lower()] = None
    return [example for example in said.values() if example is not None]


def _at_most(most: int, examples: list[Example]) -> list[Example]:
    seen: Counter[str] = Counter()
    kept = []
    for example in examples:
        seen[example.label] += 1
        if seen[example.label] <= most:
            kept.append(example)
    return kept


def _paragraphs(library: Path) -> Iterator[tuple[int, Example]]:
    """Yield the paragraphs of all docstrings with their position in the docstring."""
    for path in _sources(library):
        parts = path.relative_to(library).parts
        if NOT_TAUGHT.intersection(parts) or parts[0].startswith(("_", "config-")):
            continue
        for docstring in _docstrings(path):
            for position, paragraph in enumerate(docstring.split("\n\n")):
                text = " ".join(paragraph.split())[:LONGEST]
                if len(text) >= 20 and any(letter.isalpha() for letter in text) and not text.startswith(">>>"):
                    yield position, Example(text, parts[0].removesuffix(".py"))


def _sources(library: Path) -> list[Path]:
    """Return the modules in order, without a look into what was installed beside the library."""
    found: list[Path] = []
    for folder, below, files in os.walk(library):
        below[:] = [name for name in below if name not in NOT_TAUGHT]
        found += [Path(folder, name) for name in files if name.endswith(".py")]
    return sorted(found)


def _docstrings(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return  # a file of this Python that this Python cannot read teaches nothing
    for node in _statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (
            text := ast.get_docstring(node)
        ):
            yield text


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what a definition can lie in, in the order of `ast.walk`, which would look into every expression too."""
    waiting = deque[ast.AST]([tree])
    while waiting:
        node = waiting.popleft()
        yield node
        for block in BLOCKS:
            waiting.extend(getattr(node, block, ()))
