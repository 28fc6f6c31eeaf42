"""/v1/files: bytes in the artifact store, what they are in the catalog. A tenant sees its own, up to its clearance."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, Self

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.ids import new_id
from tokenworks.core.label import Label
from tokenworks.gateway.errors import ApiError, bad_request, not_found
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.platform.call import Call, declared, reply
from tokenworks.gateway.platform.multipart import Form, receive_form
from tokenworks.gateway.platform.pages import page
from tokenworks.gateway.platform.theirs import all_theirs, one_theirs
from tokenworks.governance.keys import Principal
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

KIND = "file"
PURPOSES = ("fine-tune", "evals", "batch", "user_data", "assistants", "vision")
CHUNK = 1 << 18
Busy = Callable[[str, str], str]  # (tenant, file id) -> what still needs the file, empty: nothing
Needed = Callable[[str], bool]  # digest -> whether anything besides files has these bytes


class File(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a file besides its id, its tenant and its time."""

    filename: str
    bytes: int
    purpose: str
    digest: str
    label: str
    by: str  # key that sent it, or job that made it


class Files:
    """The files of all tenants."""

    def __init__(
        self,
        objects: Objects,
        artifacts: ArtifactStore,
        *,
        scratch: Path,
        max_bytes: int,
        busy: Busy,
        needed: Needed,
        clock: Clock,
    ) -> None:
        self._objects = objects
        self._artifacts = artifacts
        self._scratch = scratch
        self._max_bytes = max_bytes
        self._busy = busy
        self._needed = needed
        self._clock = clock
        shutil.rmtree(scratch, ignore_errors=True)  # uploads that a kill cut off

    async def upload(self, exchange: Exchange) -> Reply:
        """Take a file, as a stream."""
        require_scope(exchange.who, "files")
        label = declared(exchange)
        assert exchange.pieces is not None, "only HTTP brings files"
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / "upload"
            pieces = exchange.pieces(self._max_bytes)
            form = await receive_form(exchange.content_type, pieces, file_field="file", into=path)
            _check(form)
            kept = await asyncio.to_thread(self._keep, exchange.who, form, path, label)
        return reply(shown(kept))

    def list(self, call: Call) -> Any:
        """Return the caller's files, newest first."""
        call.known("after", "limit", "order", "purpose")
        wanted = call.query.get("purpose")
        found = all_theirs(self._objects, KIND, call.who)
        found = [one for one in found if wanted is None or one.body["purpose"] == wanted]
        return page(call, found, shown, limit=10_000, most=10_000)

    def get(self, call: Call) -> Any:
        """Return one file."""
        call.known()
        return shown(self.find(call.who, call.targets[0]))

    def delete(self, call: Call) -> Any:
        """Forget a file; its bytes go with the last file that has them, unless the factory itself needs the same."""
        call.known()
        found = self.find(call.who, call.targets[0])
        if why := self._busy(call.who.tenant, found.id):
            raise ApiError(409, f"file {found.id} is needed by {why}; cancel that, or wait for it", code="file_in_use")
        self._objects.delete(KIND, found.id)
        digest = found.body["digest"]
        left = any(other.body["digest"] == digest for other in self._objects.of(KIND))
        if not left and self._artifacts.has(digest) and not self._needed(digest):
            self._artifacts.erase(digest, because=f"file {found.id} was deleted by key {call.who.key_id}")
        return {"id": found.id, "object": "file", "deleted": True}

    async def content(self, exchange: Exchange) -> Reply:
        """Return the bytes, as a stream; they are verified before the first one leaves."""
        require_scope(exchange.who, "files")
        found = await asyncio.to_thread(self.find, exchange.who, exchange.target)
        file = await asyncio.to_thread(self._artifacts.open, found.body["digest"])
        headers = (
            ("content-type", "application/octet-stream"),
            ("content-length", str(found.body["bytes"])),
            ("x-tokenworks-label", found.body["label"]),
        )
        return Reply(status=200, body=Pieces(file), headers=headers)

    def find(self, who: Principal, id: str, *, param: str | None = None) -> Object:
        """Return the file; one of another tenant, or above the caller's clearance, does not exist."""
        found = one_theirs(self._objects, KIND, id, who)
        if found is None:
            raise not_found(
                f"file {id!r} does not exist or you may not use it; GET /v1/files lists yours",
                code="file_not_found",
                param=param,
            )
        return found

    def _keep(self, who: Principal, form: Form, path: Path, label: Label) -> Object:
        file = File(
            filename=form.filename,
            bytes=path.stat().st_size,
            purpose=form.fields["purpose"],
            digest=self._artifacts.put_file(path),
            label=str(label),
            by=who.key_id,
        )
        return add_file(self._objects, who.tenant, file, id=new_id("file"), at=self._clock.now())


class Pieces:
    """An open file as the body of an answer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return some more bytes."""
        data = await asyncio.to_thread(self._file.read, CHUNK)
        if not data:
            raise StopAsyncIteration
        return data

    async def aclose(self) -> None:
        """Close the file."""
        self._file.close()


def add_file(objects: Objects, tenant: str, file: File, *, id: str, at: float) -> Object:
    """Enter a file whose bytes are in the artifact store."""
    found = Object(kind=KIND, id=id, scope=tenant, body=msgspec.to_builtins(file), created_at=at)
    objects.add(found)
    return found


def lines_of(artifacts: ArtifactStore, file: Object) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of the file that hold something, each with its number; never the whole file in memory."""
    with artifacts.open(file.body["digest"]) as opened:
        for number, line in enumerate(opened, 1):
            if line.strip():
                yield number, line


def shown(found: Object) -> dict[str, Any]:
    """Return OpenAI's file object; `label` is ours."""
    file = msgspec.convert(found.body, File)
    return {
        "id": found.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(found.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "label": file.label,
    }


def require_purpose(file: Object, purpose: Literal["fine-tune", "evals", "batch"], param: str) -> None:
    """Raise 400 where the file was sent for something else."""
    if file.body["purpose"] != purpose:
        raise bad_request(
            f"file {file.id} was uploaded for {file.body['purpose']!r}; upload it with purpose {purpose!r}", param=param
        )


def _check(form: Form) -> None:
    if not form.has_file or not form.filename:
        raise bad_request("the form has no file; send it as field 'file' with a file name", param="file")
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise bad_request("the field 'purpose' is missing; add it", param="purpose", code="missing_required_parameter")
    if purpose not in PURPOSES:
        raise bad_request(f"purpose is {purpose[:80]!r}; it must be one of {', '.join(PURPOSES)}", param="purpose")
    for name in form.fields:
        if name != "purpose":
            raise bad_request(
                f"unknown field {name[:80]!r}; a file is kept until you delete it, with 'file' and 'purpose' alone",
                param=name[:80],
                code="unknown_parameter",
            )
