"""The lines of one user in the files of batches: found by the requests that answered them, and taken out.

Input and output stay files with as many lines as before; a line that is gone says so.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tokenworks.factory.house import House
from tokenworks.gateway.platform.batches import KIND as BATCH
from tokenworks.gateway.platform.batches import Batch
from tokenworks.gateway.platform.files import KIND, File, lines_of
from tokenworks.gateway.platform.shelf import change
from tokenworks.store.nouns import Object


class Written(msgspec.Struct, frozen=True):
    """What is read of a line of output."""

    line: int = 0
    response: dict[str, Any] | None = None


class Cut(NamedTuple):
    """A file, and which of its lines are to go."""

    file: Object
    numbers: frozenset[int]


_written = msgspec.json.Decoder(Written).decode


def cuts(house: House, tenant: str, requests: Collection[str]) -> list[Cut]:
    """Return which lines of which files of the tenant's batches are about `requests`."""
    wanted, objects = set(requests), house.catalog.objects
    if not wanted:
        return []
    found, asked = list[Cut](), dict[str, set[int]]()
    for file in objects.of(KIND, tenant):
        if file.body["purpose"] != "batch_output" or not house.artifacts.has(file.body["digest"]):
            continue
        here = dict(_about(house, file, wanted))
        if here:
            found.append(Cut(file, frozenset(here)))
            asked.setdefault(file.body["by"], set()).update(here.values())
    inputs = dict[str, set[int]]()
    for batch, numbers in asked.items():
        if (one := objects.get(BATCH, batch)) is not None:
            inputs.setdefault(msgspec.convert(one.body, Batch).input_file_id, set()).update(numbers)
    sources = ((objects.get(KIND, id), numbers) for id, numbers in inputs.items())
    there = [Cut(one, frozenset(numbers)) for one, numbers in sources if one is not None]
    return [*found, *(cut for cut in there if house.artifacts.has(cut.file.body["digest"]))]


def cut_out(house: House, cut: Cut, *, because: str, going: Callable[[str], None]) -> None:
    """Put the file without those lines in its place. `going` hears of the old bytes before: they are to be erased.

    Killed in between, it is done again. Bytes that another file consists of as well are left to that one.
    """
    old, objects = str(cut.file.body["digest"]), house.catalog.objects
    folder = house.home / "work"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        with house.artifacts.open(old) as lines:
            for number, line in enumerate(lines, 1):
                file.write(_gone(line, because) if number in cut.numbers else line)
        file.flush()
        new = house.artifacts.put_file(Path(file.name))
        size = Path(file.name).stat().st_size
    if new == old:
        return
    if not any(other.body["digest"] == old and other.id != cut.file.id for other in objects.of(KIND)):
        going(old)
    change(objects, KIND, cut.file.id, File, lambda one: msgspec.structs.replace(one, digest=new, bytes=size))


def _about(house: House, file: Object, wanted: set[str]) -> Iterator[tuple[int, int]]:
    """Yield the numbers, in the file and in the batch's input, of the lines that answer one of `wanted`."""
    for number, data in lines_of(house.artifacts, file):
        line = _written(data)
        if line.response is not None and line.response.get("request_id") in wanted:
            yield number, line.line


def _gone(line: bytes, because: str) -> bytes:
    """Return what stands in the place of a line: its names, and why it holds nothing more."""
    said = msgspec.json.decode(line, type=dict[str, Any])
    kept = {name: said[name] for name in ("id", "custom_id", "line") if name in said}
    message = f"this line was erased on request ({because})"
    return msgspec.json.encode({**kept, "response": None, "error": {"code": "erased", "message": message}}) + b"\n"
