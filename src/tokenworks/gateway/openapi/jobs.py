"""/v1/fine_tuning/jobs: what is asked of our trainers, and what became of it."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from tokenworks.gateway.openapi.lists import TURNED, Page
from tokenworks.gateway.openapi.operation import SERVICE, Operation, Query, Shown
from tokenworks.gateway.platform.asked import CreateJob, MethodName
from tokenworks.gateway.platform.jobs import Status


class JobError(Shown, frozen=True, kw_only=True):
    """Why a job failed."""

    code: str
    message: str
    param: str | None


class TrainedWith(Shown, frozen=True, kw_only=True):
    """How it was trained."""

    hyperparameters: dict[str, int | float | str]
    grader: dict[str, Any] | UnsetType = UNSET


class JobMethod(Shown, frozen=True, kw_only=True):
    """The method, with what belongs to it."""

    type: MethodName
    supervised: TrainedWith | UnsetType = UNSET
    dpo: TrainedWith | UnsetType = UNSET
    reinforcement: TrainedWith | UnsetType = UNSET


class Job(Shown, frozen=True, kw_only=True):
    """A fine-tuning job; `base` and `label` are ours."""

    id: str
    object: Literal["fine_tuning.job"]
    created_at: int
    model: str
    fine_tuned_model: str | None
    status: Status
    training_file: str
    validation_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    finished_at: int | None
    estimated_finish: int | None
    organization_id: str
    seed: int
    error: JobError | None
    integrations: list[dict[str, Any]]
    hyperparameters: dict[str, int | float | str]
    method: JobMethod
    user_provided_suffix: str | None
    metadata: dict[str, str]
    base: str
    label: str


class JobList(Page, frozen=True, kw_only=True):
    """Jobs."""

    data: list[Job]


class JobEvent(Shown, frozen=True, kw_only=True):
    """Something that happened to a job."""

    id: str
    object: Literal["fine_tuning.job.event"]
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class JobEventList(Page, frozen=True, kw_only=True):
    """Events."""

    data: list[JobEvent]


class Checkpoint(Shown, frozen=True, kw_only=True):
    """A model that a job left."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"]
    created_at: int
    fine_tuning_job_id: str
    fine_tuned_model_checkpoint: str
    step_number: int
    metrics: dict[str, float]


class CheckpointList(Page, frozen=True, kw_only=True):
    """Checkpoints."""

    data: list[Checkpoint]


NOTHING = Annotated[list[Any], Meta(max_length=0)] | None  # what is refused where it says anything
METADATA = Query(name="metadata", type=dict[str, Any], summary="Jobs with this metadata alone", family=True)
JOB = "/v1/fine_tuning/jobs/{job_id}"
_job = partial(Operation, tag="Fine-tuning", refusals=SERVICE | {404})
OPERATIONS = (
    _job(
        method="POST",
        path="/v1/fine_tuning/jobs",
        id="createFineTuningJob",
        summary="Tune a model",
        body=CreateJob,
        narrowed={"integrations": NOTHING},
        answer=Job,
    ),
    _job(
        method="GET",
        path="/v1/fine_tuning/jobs",
        id="listFineTuningJobs",
        summary="List jobs, the newest first",
        answer=JobList,
        query=(*TURNED, METADATA),
        refusals=SERVICE,
    ),
    _job(method="GET", path=JOB, id="getFineTuningJob", summary="Return a job", answer=Job),
    _job(method="POST", path=f"{JOB}/cancel", id="cancelFineTuningJob", summary="End a job", answer=Job),
    _job(
        method="GET",
        path=f"{JOB}/events",
        id="listFineTuningEvents",
        summary="Return what happened to a job",
        answer=JobEventList,
        query=TURNED,
    ),
    _job(
        method="GET",
        path=f"{JOB}/checkpoints",
        id="listFineTuningCheckpoints",
        summary="Return the models that a job left",
        answer=CheckpointList,
        query=TURNED,
    ),
)
