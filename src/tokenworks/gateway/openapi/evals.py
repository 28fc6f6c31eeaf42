"""/v1/evals and their runs."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tokenworks.gateway.openapi.files import LABEL
from tokenworks.gateway.openapi.lists import PAGED, Page
from tokenworks.gateway.openapi.operation import SERVICE, Operation, Query, Shown
from tokenworks.gateway.platform.criteria import AnyCriterion
from tokenworks.gateway.platform.evals import CreateEval, UpdateEval
from tokenworks.gateway.platform.runs import CreateRun

RunStatus = Literal["queued", "in_progress", "completed", "failed", "canceled"]


class RowConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a row holds. Requests that were logged are no source here."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


class RowSchema(Shown, frozen=True, kw_only=True):
    """What a row holds, as JSON Schema."""

    type: Literal["custom"]
    schema: dict[str, Any]


class Eval(Shown, frozen=True, kw_only=True):
    """An eval; `label` is ours."""

    object: Literal["eval"]
    id: str
    name: str
    created_at: int
    data_source_config: RowSchema
    testing_criteria: list[dict[str, Any]]
    metadata: dict[str, str]
    label: str


class EvalList(Page, frozen=True, kw_only=True):
    """Evals."""

    data: list[Eval]


class EvalDeleted(Shown, frozen=True, kw_only=True):
    """It is forgotten."""

    object: Literal["eval.deleted"]
    deleted: bool
    eval_id: str


class RunCounts(Shown, frozen=True, kw_only=True):
    """Rows of a run."""

    total: int
    errored: int
    failed: int
    passed: int


class RunError(Shown, frozen=True, kw_only=True):
    """Why a run failed."""

    code: str
    message: str


class ModelUsage(Shown, frozen=True, kw_only=True):
    """What a model took."""

    model_name: str
    invocation_count: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int


class CriterionCounts(Shown, frozen=True, kw_only=True):
    """How many answers met a criterion."""

    testing_criteria: str
    passed: int
    failed: int


class Run(Shown, frozen=True, kw_only=True):
    """A run; `label` is ours."""

    object: Literal["eval.run"]
    id: str
    eval_id: str
    name: str
    model: str
    status: RunStatus
    created_at: int
    report_url: str
    result_counts: RunCounts
    per_model_usage: list[ModelUsage]
    per_testing_criteria_results: list[CriterionCounts]
    data_source: dict[str, Any]
    metadata: dict[str, str]
    error: RunError | None
    label: str


class RunList(Page, frozen=True, kw_only=True):
    """Runs."""

    data: list[Run]


class RunDeleted(Shown, frozen=True, kw_only=True):
    """It is forgotten."""

    object: Literal["eval.run.deleted"]
    deleted: bool
    run_id: str


class Result(Shown, frozen=True, kw_only=True):
    """What a criterion says of an answer."""

    name: str
    type: str
    score: float
    passed: bool
    sample: dict[str, Any] | None


class OutputItem(Shown, frozen=True, kw_only=True):
    """What was found for a row."""

    object: Literal["eval.run.output_item"]
    id: str
    created_at: int
    run_id: str
    eval_id: str
    status: Literal["pass", "fail", "error"]
    datasource_item_id: int
    datasource_item: dict[str, Any]
    results: list[Result]
    sample: dict[str, Any]
    usage: list[dict[str, Any]] | UnsetType = UNSET


class OutputItemList(Page, frozen=True, kw_only=True):
    """What was found."""

    data: list[OutputItem]


BY = Query(name="order_by", type=Literal["created_at"], summary="By what")
OF_STATUS = Query(name="status", type=str, summary="Runs of this status alone")
PASSED = Query(name="status", type=Literal["pass", "failed"], summary="Rows that passed, or did not")
Criteria = Annotated[list[AnyCriterion], Meta(min_length=1, max_length=32)]
EVAL = "/v1/evals/{eval_id}"
RUN = f"{EVAL}/runs/{{run_id}}"
_eval = partial(Operation, tag="Evals", family="Evals", refusals=SERVICE | {404})
OPERATIONS = (
    _eval(
        method="POST",
        path="/v1/evals",
        id="createEval",
        summary="Say what is measured, and by which criteria",
        body=CreateEval,
        narrowed={"testing_criteria": Criteria, "data_source_config": RowConfig},
        answer=Eval,
        status=201,
    ),
    _eval(
        method="GET",
        path="/v1/evals",
        id="listEvals",
        summary="List evals, the oldest first",
        answer=EvalList,
        query=(*PAGED, BY),
        refusals=SERVICE,
    ),
    _eval(method="GET", path=EVAL, id="getEval", summary="Return an eval", answer=Eval),
    _eval(method="POST", path=EVAL, id="updateEval", summary="Name an eval anew", body=UpdateEval, answer=Eval),
    _eval(method="DELETE", path=EVAL, id="deleteEval", summary="Delete an eval", answer=EvalDeleted),
    _eval(
        method="POST",
        path=f"{EVAL}/runs",
        id="createEvalRun",
        summary="Measure",
        body=CreateRun,
        answer=Run,
        status=201,
        headers=LABEL,
    ),
    _eval(
        method="GET",
        path=f"{EVAL}/runs",
        id="listEvalRuns",
        summary="List runs, the oldest first",
        answer=RunList,
        query=(*PAGED, OF_STATUS),
    ),
    _eval(method="GET", path=RUN, id="getEvalRun", summary="Return a run", answer=Run),
    _eval(method="POST", path=RUN, id="cancelEvalRun", summary="End a run", answer=Run),
    _eval(method="DELETE", path=RUN, id="deleteEvalRun", summary="Delete a run", answer=RunDeleted),
    _eval(
        method="GET",
        path=f"{RUN}/output_items",
        id="listOutputItems",
        summary="Return what was found for each row",
        answer=OutputItemList,
        query=(*PAGED, PASSED),
    ),
    _eval(
        method="GET",
        path=f"{RUN}/output_items/{{output_item_id}}",
        id="getOutputItem",
        summary="Return what was found for a row",
        answer=OutputItem,
    ),
)
