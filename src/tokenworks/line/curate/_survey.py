"""One pass over a file of examples: what is in it, and what in it cannot be used."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.ids import canonical_json
from tokenworks.core.stage import Artifacts
from tokenworks.line.curate._formats import Malformed, Row, read_rows
from tokenworks.line.curate._texts import HeldOut, key_of

_SHOWN = 10  # lines listed in a message


@dataclass(frozen=True)
class ExamplesFile:
    """A stored file of examples that can be read as often as needed, one row at a time."""

    artifacts: Artifacts
    digest: str
    name: str  # as the user knows it
    task: str
    kind: str

    @property
    def where(self) -> str:
        """How an error begins."""
        return f"task {self.task}: {self.name}"

    def rows(self) -> Iterator[Row | Malformed]:
        """Yield the rows, their answers in one canonical form."""
        with self.artifacts.open(self.digest) as file:
            for row in read_rows(file, self.where):
                yield row if isinstance(row, Malformed) else _checked(row, self.kind)

    def good_rows(self) -> Iterator[Row]:
        """Yield the rows of a file that was surveyed: it holds no malformed line."""
        for row in self.rows():
            if isinstance(row, Row):
                yield row


@dataclass
class Survey:
    """What one pass found. Texts are not kept: 64 bits name each."""

    rows: int = 0
    answers: dict[int, int] = field(default_factory=dict)  # text -> its first answer
    classes: dict[str, int] = field(default_factory=dict)  # answer -> rows; classify only
    skipped: dict[int, str] = field(default_factory=dict)  # line -> reason
    conflicts: set[int] = field(default_factory=set)  # texts with two answers


def survey(file: ExamplesFile, held_out: HeldOut | None = None) -> Survey:
    """Read all of `file`; raise `DataError` naming every malformed line. `held_out` is told of each unit."""
    found, bad, seen = Survey(), list[Malformed](), set[int]()
    for row in file.rows():
        found.rows += 1
        if isinstance(row, Malformed):
            bad.append(row)
            continue
        if not row.text.strip():
            found.skipped[row.line] = "empty"
            continue
        key, answer = key_of(row.text), hash_of(row.answer)
        first = found.answers.setdefault(key, answer)
        # A chat may have several good answers to one question; elsewhere a second answer is a contradiction.
        same = key ^ answer if file.kind == "chat" else key
        if same in seen and (file.kind == "chat" or first == answer):
            found.skipped[row.line] = "duplicate"
            continue
        seen.add(same)
        if first != answer and file.kind != "chat":
            found.conflicts.add(key)
        if file.kind == "classify":
            found.classes[row.answer] = found.classes.get(row.answer, 0) + 1
        if held_out is not None:
            held_out.add(unit_of(row), row.answer if file.kind == "classify" else "")
    if bad:
        more = "".join(f", {each.line}" for each in bad[1:_SHOWN])
        rest = f" ({len(bad) - 1} more of {found.rows} lines: {more[2:]}{', ...' if len(bad) > _SHOWN else ''})"
        raise DataError(f"{file.where} line {bad[0].line}: {bad[0].reason}{rest if more else ''}; mend or remove it")
    return found


def unit_of(row: Row) -> int:
    """Return what is kept together: the group of `row` where it has one, else its text."""
    return hash_of(f"group\0{row.group}") if row.group else key_of(row.text)


def hash_of(answer: str) -> int:
    """Return 64 bits that name `answer` exactly."""
    return int.from_bytes(hashlib.sha256(answer.encode("utf-8", "surrogatepass")).digest()[:8])


def require_known_labels(gold: ExamplesFile, found: Survey, classes: dict[str, int]) -> None:
    """Raise `DataError` naming the first gold line whose label no example has, and the nearest known one."""
    if unknown := found.classes.keys() - classes.keys():
        row = next(row for row in gold.good_rows() if row.answer in unknown and row.text.strip())
        raise DataError(
            f"{gold.where} line {row.line}: label {quoted(row.answer)} is not among the {len(classes)} classes; "
            f"{nearest(row.answer, classes)}"
        )


def nearest(label: str, classes: dict[str, int]) -> str:
    """Return the way out for an unknown `label`."""
    if near := difflib.get_close_matches(label, classes, n=1):
        return f"nearest {quoted(near[0])}"
    known = sorted(classes)
    return f"there are: {', '.join(known[:_SHOWN])}{', ...' if len(known) > _SHOWN else ''}"


def quoted(label: str) -> str:
    """Return `label` in double quotes."""
    return f'"{label}"'


def _checked(row: Row, kind: str) -> Row | Malformed:
    if not row.answer and row.text.strip():
        return Malformed(row.line, f"no {'label' if kind == 'classify' else 'answer'}")
    if kind != "extract" or not row.text.strip():
        return row
    try:
        answer = canonical_json(msgspec.json.decode(row.answer)).decode()
    except msgspec.DecodeError as error:
        return Malformed(row.line, f"the answer of an extract task must be JSON: {error}")
    return msgspec.structs.replace(row, answer=answer)
