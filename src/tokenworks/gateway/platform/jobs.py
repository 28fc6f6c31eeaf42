"""/v1/fine_tuning/jobs: what is asked for is written down here; a process of its own makes the model."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.ids import ALPHABET, new_id
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import ApiError, bad_request, not_found
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.layers.authorise import find_model
from tokenworks.gateway.platform.asked import CreateJob, Hyperparameters, MethodName, wish_of
from tokenworks.gateway.platform.call import Call, call_of, reply
from tokenworks.gateway.platform.files import Files, require_purpose
from tokenworks.gateway.platform.pages import page
from tokenworks.gateway.platform.shelf import add_once, change
from tokenworks.gateway.platform.theirs import all_theirs, one_theirs
from tokenworks.gateway.releases import Releases
from tokenworks.gateway.served import Served
from tokenworks.governance.keys import Principal
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

KIND = "fine_tuning.job"
EVENT = "fine_tuning.event"
CHECKPOINT = "fine_tuning.checkpoint"
OPEN = frozenset({"validating_files", "queued", "running"})
KIND_OF = {"classify": "classify", "embed": "classify", "chat": "chat", "complete": "chat", "extract": "extract"}
Status = Literal["validating_files", "queued", "running", "succeeded", "failed", "cancelled"]


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is kept. `name` is what the model will be called; `fine_tuned_model` is set once it answers."""

    model: str  # as asked for
    base: str  # name@version
    kind: str  # of what is made
    name: str
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int
    method: MethodName
    hyperparameters: Hyperparameters
    reward: str = ""
    grader: dict[str, Any] | None = None
    metadata: dict[str, str] = {}
    label: str
    owner: str
    key_id: str
    status: Status = "validating_files"
    releasing: bool = False  # past the point where it could be cancelled
    deaths: int = 0  # of its process, one after the other
    error: JobError | None = None
    fine_tuned_model: str | None = None
    finished_at: int | None = None
    estimated_finish: int | None = None
    trained_tokens: int | None = None
    result_files: list[str] = []


class Jobs:
    """The fine-tuning jobs of all tenants. `wake` tells whoever runs them that something changed."""

    def __init__(
        self, objects: Objects, files: Files, releases: Releases, *, wake: Callable[[], None], clock: Clock
    ) -> None:
        self._objects = objects
        self._files = files
        self._releases = releases
        self._wake = wake
        self._clock = clock

    async def create(self, exchange: Exchange) -> Reply:
        """Take a job; what is wrong with its data shows later, as the job's error."""
        call = await call_of(exchange, "tune")
        call.known()
        body = call.decode(CreateJob)
        served = await find_model(self._releases, call.who, body.model)
        made = await asyncio.to_thread(self._create, call.who, body, served)
        self._wake()
        return reply(shown(made))

    def list(self, call: Call) -> Any:
        """Return the caller's jobs, newest first."""
        call.known("after", "limit", "metadata[")
        wanted = {name[len("metadata[") : -1]: value for name, value in call.query.items() if name[:9] == "metadata["}
        found = all_theirs(self._objects, KIND, call.who)
        found = [one for one in found if wanted.items() <= one.body["metadata"].items()]
        return page(call, found, shown)

    def get(self, call: Call) -> Any:
        """Return one job."""
        call.known()
        return shown(self._find(call))

    def cancel(self, call: Call) -> Any:
        """End a job; nothing of it is released."""
        call.known()
        found = self._find(call)
        now = int(self._clock.now())

        def step(job: Job) -> Job | None:
            if job.status not in OPEN or job.releasing:
                return None
            return msgspec.structs.replace(job, status="cancelled", finished_at=now, estimated_finish=None)

        if change(self._objects, KIND, found.id, Job, step) is None:
            found = self._find(call)
            state = "being released" if found.body["releasing"] else found.body["status"]
            raise ApiError(
                400, f"job {found.id} is {state} already; it cannot be cancelled", code="job_not_cancellable"
            )
        tell(self._objects, found.id, "Fine-tuning job cancelled", at=self._clock.now(), once="cancelled")
        self._wake()
        return shown(self._find(call))

    def events(self, call: Call) -> Any:
        """Return what happened to a job, the newest first."""
        call.known("after", "limit")
        return page(call, self._objects.of(EVENT, self._find(call).id), _event)

    def checkpoints(self, call: Call) -> Any:
        """Return the models that a job left, the newest first."""
        call.known("after", "limit")
        return page(call, self._objects.of(CHECKPOINT, self._find(call).id), _checkpoint, limit=10)

    def _create(self, who: Principal, body: CreateJob, served: Served) -> Object:
        kind = KIND_OF.get(served.kind)
        if kind is None or served.accepts != str(Label.RESTRICTED):
            raise bad_request(
                f"model {body.model!r} ({served.kind or 'elsewhere'}) cannot be fine-tuned here", param="model"
            )
        wish = wish_of(body, kind)
        names = ("training_file", "validation_file")
        files = [self._files.find(who, id, param=name) for name in names if (id := getattr(body, name))]
        for file, name in zip(files, names, strict=False):
            require_purpose(file, "fine-tune", name)
        if wish.method == "dpo" and body.validation_file:
            raise bad_request(
                "dpo holds a part of the training file out; leave validation_file out", param="validation_file"
            )
        id = new_id("ftjob")
        job = Job(
            model=body.model,
            base=served.ref,
            kind=kind,
            name=_name(served.ref, body.suffix),
            training_file=body.training_file,
            validation_file=body.validation_file,
            suffix=body.suffix,
            seed=secrets.randbelow(2**31) if body.seed is None else body.seed,
            method=wish.method,
            hyperparameters=wish.hyperparameters,
            reward=wish.reward,
            grader=wish.grader,
            metadata=body.metadata or {},
            label=str(highest(Label.parse(each) for each in (served.label, *(f.body["label"] for f in files)))),
            owner=f"{who.tenant}/{who.name or who.key_id}",
            key_id=who.credential_id,
        )
        now = self._clock.now()
        made = Object(kind=KIND, id=id, scope=who.tenant, body=msgspec.to_builtins(job), created_at=now)
        self._objects.add(made)
        tell(self._objects, id, "Created fine-tuning job", at=now, once="created")
        tell(self._objects, id, f"Validating training file: {job.training_file}", at=now, once="validating")
        return made

    def _find(self, call: Call) -> Object:
        found = one_theirs(self._objects, KIND, call.targets[0], call.who)
        if found is None:
            raise not_found(
                f"job {call.targets[0]!r} does not exist or is not yours; GET /v1/fine_tuning/jobs lists yours",
                code="job_not_found",
            )
        return found


def needs(objects: Objects, tenant: str, file: str) -> str:
    """Return which open job of the tenant still needs the file, empty where none does."""
    for found in objects.of(KIND, tenant):
        if found.body["status"] in OPEN and file in (found.body["training_file"], found.body.get("validation_file")):
            return f"fine-tuning job {found.id}"
    return ""


def tell(
    objects: Objects,
    job: str,
    message: str,
    *,
    at: float,
    once: str = "",
    level: Literal["info", "warn", "error"] = "info",
    data: dict[str, Any] | None = None,
) -> None:
    """Add an event; with `once` there is one of that name in the job's life, however often it is told."""
    id = f"ftevent-{job.removeprefix('ftjob-')}-{once}" if once else new_id("ftevent")
    body = {"message": message, "level": level, "type": "metrics" if data else "message", "data": data or {}}
    add_once(objects, Object(kind=EVENT, id=id, scope=job, body=body, created_at=at))


def shown(found: Object) -> dict[str, Any]:
    """Return OpenAI's job object; `label` and `base` are ours."""
    job = msgspec.convert(found.body, Job)
    told = {name: getattr(job.hyperparameters, name) for name in _TOLD[job.method]}
    grader = {"grader": job.grader} if job.grader is not None else {}
    error = None if job.error is None else msgspec.to_builtins(job.error)
    return {
        "object": "fine_tuning.job",
        "id": found.id,
        "created_at": int(found.created_at),
        "model": job.model,
        "fine_tuned_model": job.fine_tuned_model,
        "status": job.status,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "result_files": job.result_files,
        "trained_tokens": job.trained_tokens,
        "finished_at": job.finished_at,
        "estimated_finish": job.estimated_finish,
        "organization_id": found.scope,
        "seed": job.seed,
        "error": error,
        "integrations": [],
        "hyperparameters": told if job.method == "supervised" else {},
        "method": {"type": job.method, job.method: {"hyperparameters": told, **grader}},
        "user_provided_suffix": job.suffix,
        "metadata": job.metadata,
        "base": job.base,
        "label": job.label,
    }


_TOLD = {
    "supervised": ("n_epochs", "batch_size", "learning_rate_multiplier"),
    "dpo": ("n_epochs", "batch_size", "learning_rate_multiplier", "beta"),
    "reinforcement": ("n_epochs", "batch_size", "learning_rate_multiplier"),
}


def _event(found: Object) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": found.id,
        "created_at": int(found.created_at),
        **found.body,
    }


def _checkpoint(found: Object) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": found.id,
        "created_at": int(found.created_at),
        "fine_tuning_job_id": found.scope,
        **found.body,
    }


def _name(base: str, suffix: str | None) -> str:
    """Return a name that nothing has: ft-BASE-SUFFIX-RANDOM, at most 63 characters."""
    parts = ("ft", base.partition("@")[0][:20].removeprefix("ft-"), (suffix or "")[:24])
    plain = (re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts)
    tail = "".join(secrets.choice(ALPHABET) for _ in range(10))
    return "-".join((*filter(None, plain), tail))
