"""/v1/batches: many requests of one file, asked when nobody else does; what is asked for is written down here."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.core.clock import Clock
from tokenworks.core.errors import NotFoundError
from tokenworks.core.ids import new_id
from tokenworks.core.request import Endpoint
from tokenworks.gateway.errors import ApiError, not_found
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.layers.authorise import require_scope
from tokenworks.gateway.platform.call import Call, call_of, reply
from tokenworks.gateway.platform.elsewhere import Runner
from tokenworks.gateway.platform.files import Files, require_purpose
from tokenworks.gateway.platform.pages import page
from tokenworks.gateway.platform.shelf import change
from tokenworks.gateway.platform.theirs import all_theirs, one_theirs
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

KIND = "batch"
WINDOW_S = 86_400
LIVE = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
OPEN = frozenset({"validating", "in_progress"})
ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": "chat.completions",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/classify": "classify",
}
Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"]


class CreateBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/batches."""

    input_file_id: Annotated[str, Meta(min_length=1)]
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/classify"]
    completion_window: Literal["24h"]
    metadata: Annotated[dict[str, str], Meta(max_length=16)] | None = None


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line, or with the batch."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it is kept. Times are whole seconds since the Unix epoch."""

    endpoint: str
    input_file_id: str
    tenant: str
    key_id: str  # in whose name models are asked
    data_label: str  # of the input
    label: str  # of the output: the highest of the input and the answers
    expires_at: int
    metadata: dict[str, str] = {}
    status: Status = "validating"
    wrong: list[Wrong] = []
    total: int = 0
    completed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    times: dict[str, int] = {}  # in_progress_at, finalizing_at, ...: when it came to each status


class Batches:
    """The batches of all tenants."""

    def __init__(self, objects: Objects, files: Files, runner: Runner, *, clock: Clock) -> None:
        self._objects = objects
        self._files = files
        self._runner = runner
        self._clock = clock

    async def create(self, exchange: Exchange) -> Reply:
        """Take a batch; what is wrong with its lines shows later, as the batch's errors."""
        call = await call_of(exchange, "files")
        require_scope(call.who, "infer")
        call.known()
        made = await asyncio.to_thread(self._create, call, call.decode(CreateBatch))
        self._runner.begin(made.id)
        return reply(shown(made))

    def list(self, call: Call) -> Any:
        """Return the caller's batches, newest first."""
        call.known("after", "limit")
        return page(call, all_theirs(self._objects, KIND, call.who), shown)

    def get(self, call: Call) -> Any:
        """Return one batch."""
        call.known()
        return shown(self._find(call))

    def cancel(self, call: Call) -> Any:
        """End a batch; what has been answered so far becomes its output."""
        call.known()
        found = self._find(call)
        now = int(self._clock.now())

        def step(batch: Batch) -> Batch | None:
            return at_status(batch, "cancelling", now) if batch.status in OPEN else None

        if change(self._objects, KIND, found.id, Batch, step) is None:
            status = self._find(call).body["status"]
            raise ApiError(400, f"batch {found.id} is {status}; it cannot be cancelled", code="batch_not_cancellable")
        self._runner.end(found.id)
        return shown(self._find(call))

    def _create(self, call: Call, body: CreateBatch) -> Object:
        file = self._files.find(call.who, body.input_file_id, param="input_file_id")
        require_purpose(file, "batch", "input_file_id")
        now = self._clock.now()
        batch = Batch(
            endpoint=body.endpoint,
            input_file_id=file.id,
            tenant=call.who.tenant,
            key_id=call.who.credential_id,
            data_label=file.body["label"],
            label=file.body["label"],
            expires_at=int(now) + WINDOW_S,
            metadata=body.metadata or {},
        )
        body_kept = msgspec.to_builtins(batch)
        made = Object(kind=KIND, id=new_id("batch"), scope=call.who.tenant, body=body_kept, created_at=now)
        self._objects.add(made)
        return made

    def _find(self, call: Call) -> Object:
        found = one_theirs(self._objects, KIND, call.targets[0], call.who)
        if found is None:
            raise not_found(
                f"batch {call.targets[0]!r} does not exist or is not yours; GET /v1/batches lists yours",
                code="batch_not_found",
            )
        return found


def get(objects: Objects, id: str) -> Batch:
    """Return the batch; raise `NotFoundError` where there is none."""
    found = objects.get(KIND, id)
    if found is None:
        raise NotFoundError(f"batch {id} does not exist")
    return msgspec.convert(found.body, Batch)


def at_status(batch: Batch, status: Status, now: int) -> Batch:
    """Return the batch with a new status, and when it came to it."""
    return msgspec.structs.replace(batch, status=status, times={**batch.times, f"{status}_at": now})


def reads(objects: Objects, tenant: str, file: str) -> str:
    """Return which batch under way of the tenant still reads the file, empty where none does."""
    for found in objects.of(KIND, tenant):
        if found.body["status"] in LIVE and found.body["input_file_id"] == file:
            return f"batch {found.id}"
    return ""


def shown(found: Object) -> dict[str, Any]:
    """Return OpenAI's batch object; `label` is ours. A figure that is not known yet is left out."""
    batch = msgspec.convert(found.body, Batch)
    optional = {"output_file_id": batch.output_file_id, "error_file_id": batch.error_file_id, **batch.times}
    errors = {"object": "list", "data": [msgspec.to_builtins(one) for one in batch.wrong]}
    return {
        "id": found.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "input_file_id": batch.input_file_id,
        "completion_window": "24h",
        "status": batch.status,
        "created_at": int(found.created_at),
        "expires_at": batch.expires_at,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": {
            "input_tokens": batch.prompt_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": batch.prompt_tokens + batch.completion_tokens,
        },
        "metadata": batch.metadata,
        "label": batch.label,
        **{name: value for name, value in optional.items() if value is not None},
        **({"errors": errors} if batch.wrong else {}),
    }
