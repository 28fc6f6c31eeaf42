"""A job's files as the line reads them: examples as they are, preferences and questions in its own shapes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import DataError
from tokenworks.core.ids import content_id
from tokenworks.gateway.platform.asked import REFERENCE
from tokenworks.gateway.platform.files import KIND, lines_of
from tokenworks.gateway.platform.jobs import Job
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

PAIRS = "pairs.jsonl"
SHOWN = 5  # bad lines named in an error
_PREFERENCE = '{"input": {"messages": [...]}, "preferred_output": [...], "non_preferred_output": [...]}'
_encode = msgspec.json.Encoder().encode


def lay_out(job: Job, objects: Objects, artifacts: ArtifactStore, folder: Path) -> tuple[str, str]:
    """Write the job's files into `folder`; return the names of examples and gold relative to it, gold may be empty.

    Raises `DataError` naming file and lines for what is none of the job's method.
    """
    training = _find(objects, job.training_file)
    name = f"training_file/{_plain(training.body['filename'])}"
    if job.method == "supervised":
        _copy(artifacts, training, folder / name)
    elif job.method == "dpo":
        pairs = list(_checked(lines_of(artifacts, training), name, _pair))
        _write(folder / PAIRS, pairs)
        _write(folder / name, (_preferred(pair) for pair in pairs))
    else:
        _write(folder / name, _checked(lines_of(artifacts, training), name, _question))
    if job.validation_file is None:
        return name, ""
    validation = _find(objects, job.validation_file)
    gold = f"validation_file/{_plain(validation.body['filename'])}"
    if job.method == "reinforcement":
        _write(folder / gold, _checked(lines_of(artifacts, validation), gold, _question))
    else:
        _copy(artifacts, validation, folder / gold)
    return name, gold


def learned_pairs(folder: Path, gold: Iterable[dict[str, Any]]) -> bytes:
    """Return the preferences, as JSON lines, whose prompts nobody is measured on."""
    measured = {content_id(row["messages"][:-1]) for row in gold}
    pairs = msgspec.json.Decoder(dict[str, Any]).decode_lines((folder / PAIRS).read_bytes())
    return b"".join(_encode(pair) + b"\n" for pair in pairs if content_id(pair["messages"]) not in measured)


def _checked(lines: Iterator[tuple[int, bytes]], name: str, read: Any) -> Iterator[dict[str, Any]]:
    """Yield what `read` makes of each line; raise `DataError` at the end, naming the first bad ones."""
    wrong: list[str] = []
    count = 0
    for number, line in lines:
        try:
            row = read(msgspec.json.decode(line, type=dict[str, Any]))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            wrong.append(f"line {number}: not a JSON object: {error}")
        except DataError as error:
            wrong.append(f"line {number}: {error}")
        else:
            count += 1
            yield row
    if wrong:
        more = f" ... and {len(wrong) - SHOWN} more lines" if len(wrong) > SHOWN else ""
        raise DataError(f"{name}: " + "; ".join(wrong[:SHOWN]) + more)
    if not count:
        raise DataError(f"{name}: holds no example; write one JSON object on each line")


def _pair(row: dict[str, Any]) -> dict[str, Any]:
    asked = row.get("input")
    messages = asked.get("messages") if isinstance(asked, dict) else None
    if not isinstance(asked, dict) or not isinstance(messages, list) or not messages:
        raise DataError(f"input.messages is missing; a preference looks like {_PREFERENCE}")
    if asked.get("tools"):
        raise DataError("input.tools cannot be learnt yet; leave such lines out")
    return {
        "messages": messages,
        "chosen": _answer(row, "preferred_output"),
        "rejected": _answer(row, "non_preferred_output"),
    }


def _answer(row: dict[str, Any], name: str) -> str:
    found = row.get(name)
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise DataError(f"{name} must be a list of one assistant message; a preference looks like {_PREFERENCE}")
    content = found[0].get("content")
    if found[0].get("role") != "assistant" or not isinstance(content, str) or not content.strip():
        raise DataError(f"{name} must hold an assistant message with text")
    return content


def _preferred(pair: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [*pair["messages"], {"role": "assistant", "content": pair["chosen"]}]}


def _question(row: dict[str, Any]) -> dict[str, Any]:
    messages, reference = row.get("messages"), row.get(REFERENCE)
    if not isinstance(messages, list) or not messages:
        raise DataError("messages is missing; write the prompt as a list of messages")
    if not isinstance(reference, str) or not reference.strip():
        raise DataError(f"{REFERENCE} must be the right answer as text")
    return {"messages": [*messages, {"role": "assistant", "content": reference}]}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for row in rows:
            file.write(_encode(row) + b"\n")


def _copy(artifacts: ArtifactStore, file: Object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with artifacts.open(file.body["digest"]) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)


def _find(objects: Objects, id: str) -> Object:
    found = objects.get(KIND, id)
    if found is None:
        raise DataError(f"file {id} was deleted; upload it again and create another job")
    return found


def _plain(filename: str) -> str:
    """Return the name as a file of our own may be called."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", Path(filename).name).lstrip(".")[:80] or "file"
