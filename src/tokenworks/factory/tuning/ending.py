"""The end of a job: its model gets a name, its figures become a file. Each step may be done twice."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import msgspec

from tokenworks.core.model import ModelVersion
from tokenworks.core.task import Task
from tokenworks.factory.making import Making
from tokenworks.gateway.platform.files import KIND as FILE
from tokenworks.gateway.platform.files import File, add_file
from tokenworks.gateway.platform.jobs import CHECKPOINT, KIND, Job, tell
from tokenworks.gateway.platform.shelf import add_once, change
from tokenworks.line.evaluate.report import Evaluation
from tokenworks.line.produce import Way
from tokenworks.line.release.release import promote
from tokenworks.store.nouns import CatalogTask, Object

MOST_EVENTS = 50  # of metrics
LOSS = ("loss", "losses")  # what the trainers' logs call it


@dataclass(frozen=True)
class Made:
    """A job whose model is registered."""

    id: str
    tenant: str
    job: Job
    task: Task
    way: Way
    plan: str  # digest
    key: str  # of the training stage
    version: ModelVersion
    evidence: str  # digest of the gate's verdict


def finish(made: Made, house: Making) -> None:
    """Release the model under its own name, which nothing else has, and let the job succeed."""
    now = house.clock.now()
    house.catalog.tasks.put(
        CatalogTask(
            name=made.job.name,
            kind=made.version.kind,
            owner=made.version.owner,
            deputy="",
            label=made.version.label,
            spec={},  # no flywheel turns it: it was asked for once
            digest="",
            updated_at=now,
        )
    )
    promote(
        made.job.name,
        made.version,
        reason=f"asked for by fine-tuning job {made.id}",
        by=made.job.owner,
        evidence=made.evidence,
        id=f"release-{made.id}",
        catalog=house.catalog,
        ledger=house.ledger,
        clock=house.clock,
    )
    log = _log(made, house)
    steps = _steps(log)
    figure = _figure(made, house)
    file = _result_file(made, house, steps, figure, now)
    _checkpoint(made, house, steps, now)
    _metrics(made, house, steps, figure, now)

    def step(job: Job) -> Job:
        return msgspec.structs.replace(
            job,
            status="succeeded",
            releasing=False,
            fine_tuned_model=made.job.name,
            finished_at=int(now),
            estimated_finish=None,
            trained_tokens=_tokens(made, house, log),
            result_files=[file],
        )

    change(house.catalog.objects, KIND, made.id, Job, step)
    tell(house.catalog.objects, made.id, f"New fine-tuned model created: {made.job.name}", at=now, once="created-model")
    tell(house.catalog.objects, made.id, "The job has successfully completed", at=now, once="succeeded")


def _log(made: Made, house: Making) -> dict[str, Any]:
    result = house.catalog.stages.get(made.key)
    digest = result.outputs.get("log") if result is not None else None
    return msgspec.json.decode(house.artifacts.get_bytes(digest), type=dict[str, Any]) if digest else {}


def _steps(log: dict[str, Any]) -> list[dict[str, float]]:
    """Return what was measured at each step, the loss under OpenAI's name; nothing where only a head was fitted."""
    loss: list[float] = next((log[name] for name in LOSS if log.get(name)), [])
    columns = {"train_loss": loss}
    columns |= {k: v for k, v in log.items() if k not in LOSS and isinstance(v, list) and loss and len(v) == len(loss)}
    rows = zip(*columns.values(), strict=True)
    return [{"step": at, **dict(zip(columns, row, strict=True))} for at, row in enumerate(rows, 1)]


def _figure(made: Made, house: Making) -> dict[str, float]:
    """Return the figure of the evaluation on what was held out."""
    evaluation = Evaluation.from_json(house.artifacts.get_bytes(made.version.evaluation))
    return {f"eval_{evaluation.metric}": evaluation.headline.value, "eval_items": evaluation.headline.n}


def _result_file(made: Made, house: Making, steps: list[dict[str, float]], figure: dict[str, float], now: float) -> str:
    """Keep a CSV of every step, its last row the evaluation; return its file id."""
    id = f"file-{made.id.removeprefix('ftjob-')}-result"
    if house.catalog.objects.get(FILE, id) is not None:
        return id
    columns = [*(steps[0] if steps else {"step": 0}), *figure]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="")
    writer.writeheader()
    writer.writerows(steps)
    writer.writerow({"step": len(steps), **figure})
    data = out.getvalue().encode()
    file = File(
        filename="step_metrics.csv",
        bytes=len(data),
        purpose="fine-tune-results",
        digest=house.artifacts.put_bytes(data),
        label=made.version.label,
        by=made.id,
    )
    add_file(house.catalog.objects, made.tenant, file, id=id, at=now)
    return id


def _checkpoint(made: Made, house: Making, steps: list[dict[str, float]], now: float) -> None:
    """Note the one state of the weights that is kept and can be asked: the last."""
    metrics = {name: value for name, value in (steps[-1] if steps else {"step": 0}).items() if name != "tokens"}
    body = {"fine_tuned_model_checkpoint": made.job.name, "step_number": len(steps), "metrics": metrics}
    id = f"ftckpt-{made.id.removeprefix('ftjob-')}"
    add_once(house.catalog.objects, Object(kind=CHECKPOINT, id=id, scope=made.id, body=body, created_at=now))


def _metrics(made: Made, house: Making, steps: list[dict[str, float]], figure: dict[str, float], now: float) -> None:
    every = max(1, -(-len(steps) // MOST_EVENTS))
    for row in steps[every - 1 :: every]:
        at = int(row["step"])
        text = f"Step {at}/{len(steps)}: training loss={row['train_loss']:.4f}"
        tell(house.catalog.objects, made.id, text, at=now, once=f"step-{at}", data=row)
    name, value = next(iter(figure.items()))
    text = f"Evaluation: {name.removeprefix('eval_')}={value:.4f} on {figure['eval_items']:g} held-out examples"
    tell(house.catalog.objects, made.id, text, at=now, once="evaluated", data=figure)


def _tokens(made: Made, house: Making, log: dict[str, Any]) -> int:
    """Return how many tokens training read: as planned, or as sampled where answers were drawn."""
    if made.job.method == "reinforcement":
        return round(float(sum(log["tokens"])) * int(made.way.params.prompts) * int(made.way.params.group))
    return int(msgspec.json.decode(house.artifacts.get_bytes(made.plan))["tokens"])
