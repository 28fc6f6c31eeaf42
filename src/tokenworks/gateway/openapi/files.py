"""Files and batches: OpenAI's platform."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from tokenworks.gateway.openapi.lists import AFTER, ORDER, TURNED, Page
from tokenworks.gateway.openapi.operation import SERVICE, Operation, Query, Shown
from tokenworks.gateway.platform.batches import CreateBatch, Status

LABEL = ("x-tokenworks-label",)
Purpose = Literal["fine-tune", "evals", "batch", "user_data", "assistants", "vision"]


class FileForm(Shown, frozen=True, kw_only=True):
    """A file with what it is for."""

    file: bytes
    purpose: Purpose


class File(Shown, frozen=True, kw_only=True):
    """A file; `label` is ours."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"]
    label: str


class FileList(Page, frozen=True, kw_only=True):
    """Files."""

    data: list[File]


class FileDeleted(Shown, frozen=True, kw_only=True):
    """It is forgotten."""

    id: str
    object: Literal["file"]
    deleted: bool


class BatchError(Shown, frozen=True, kw_only=True):
    """What is wrong with a line, or with the batch."""

    code: str
    message: str
    line: int | None
    param: str | None


class BatchErrors(Shown, frozen=True, kw_only=True):
    """All that is wrong."""

    object: Literal["list"]
    data: list[BatchError]


class Counts(Shown, frozen=True, kw_only=True):
    """Lines of a batch."""

    total: int
    completed: int
    failed: int


class Batch(Shown, frozen=True, kw_only=True):
    """A batch; `label` is ours. A figure that is not known yet is left out."""

    id: str
    object: Literal["batch"]
    endpoint: str
    input_file_id: str
    completion_window: Literal["24h"]
    status: Status
    created_at: int
    expires_at: int
    request_counts: Counts
    usage: dict[str, Any]
    metadata: dict[str, str]
    label: str
    output_file_id: str | UnsetType = UNSET
    error_file_id: str | UnsetType = UNSET
    errors: BatchErrors | UnsetType = UNSET
    in_progress_at: int | UnsetType = UNSET
    finalizing_at: int | UnsetType = UNSET
    completed_at: int | UnsetType = UNSET
    failed_at: int | UnsetType = UNSET
    expired_at: int | UnsetType = UNSET
    cancelling_at: int | UnsetType = UNSET
    cancelled_at: int | UnsetType = UNSET


class BatchList(Page, frozen=True, kw_only=True):
    """Batches."""

    data: list[Batch]


MANY = Query(name="limit", type=Annotated[int, Meta(ge=1, le=10_000)], summary="So many at most")
PURPOSE = Query(name="purpose", type=str, summary="Files for this alone")
FILE, BATCH = "/v1/files/{file_id}", "/v1/batches/{batch_id}"
_file = partial(Operation, tag="Files", refusals=SERVICE)
_batch = partial(Operation, tag="Batches", refusals=SERVICE | {404})
OPERATIONS = (
    _file(
        method="POST",
        path="/v1/files",
        id="createFile",
        summary="Send a file",
        form=FileForm,
        answer=File,
        headers=LABEL,
    ),
    _file(
        method="GET",
        path="/v1/files",
        id="listFiles",
        summary="List files, the newest first",
        answer=FileList,
        query=(AFTER, MANY, ORDER, PURPOSE),
    ),
    _file(method="GET", path=FILE, id="getFile", summary="Return a file", answer=File, refusals=SERVICE | {404}),
    _file(
        method="DELETE",
        path=FILE,
        id="deleteFile",
        summary="Delete a file",
        answer=FileDeleted,
        refusals=SERVICE | {404, 409},
    ),
    _file(
        method="GET",
        path=f"{FILE}/content",
        id="downloadFile",
        summary="Return what stands in a file",
        media="application/octet-stream",
        refusals=SERVICE | {404},
    ),
    _batch(
        method="POST",
        path="/v1/batches",
        id="createBatch",
        summary="Ask a file of requests",
        body=CreateBatch,
        answer=Batch,
    ),
    _batch(
        method="GET",
        path="/v1/batches",
        id="listBatches",
        summary="List batches, the newest first",
        answer=BatchList,
        query=TURNED,
        refusals=SERVICE,
    ),
    _batch(method="GET", path=BATCH, id="getBatch", summary="Return a batch", answer=Batch),
    _batch(method="POST", path=f"{BATCH}/cancel", id="cancelBatch", summary="End a batch", answer=Batch),
)
