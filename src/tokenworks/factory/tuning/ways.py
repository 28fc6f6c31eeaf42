"""A job as a task of the line, and the way that its model is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from tokenworks.core.model import ModelVersion
from tokenworks.core.task import Kind, Task, TaskCheck, TaskData, TaskHead, TaskModel
from tokenworks.factory.making import Making
from tokenworks.factory.tuning.material import lay_out, learned_pairs
from tokenworks.gateway.platform.jobs import Job
from tokenworks.line.produce import Way, usual_way
from tokenworks.line.recipes import Material
from tokenworks.line.train import dpo, grpo
from tokenworks.line.train._sft_plan import SMALL, usual_rate

UNBOUNDED = "1000000s"  # where the caller says how many epochs, time does not cut them short
SCHEMA = "answer.schema.json"


def task_of(job: Job, tenant: str, house: Making, folder: Path) -> Task:
    """Return the job as a task, its files written into `folder`; raise `DataError` for files that cannot be meant."""
    base = house.catalog.models.find(job.base)
    examples, gold = lay_out(job, house.catalog.objects, house.artifacts, folder)
    kind: Kind = msgspec.convert(job.kind, Kind)
    schema = _card(house, base).get("schema") if kind == "extract" else None
    if schema is not None:
        (folder / SCHEMA).write_bytes(msgspec.json.encode(schema))
    bounded = job.hyperparameters.n_epochs == "auto"
    return Task(
        task=TaskHead(name=job.name, kind=kind, owner=job.owner, label=job.label, tenant=tenant),
        data=TaskData(examples=examples, schema=SCHEMA if schema is not None else ""),
        model=TaskModel(
            base=job.base,
            method=_method(job, base),
            budget=house.settings.platform.job_budget if bounded else UNBOUNDED,
            seed=job.seed,
        ),
        check=TaskCheck(gold=gold, floor=_floors(job, base, house)),
        folder=str(folder),
    )


def way_of(job: Job, task: Task, material: Material, house: Making, folder: Path) -> Way:
    """Return how the job's model is made from `material`."""
    usual = usual_way(task, material)
    if job.kind == "classify":
        return usual
    base = material.train["base"]
    told = _told(job, task, house.artifacts.folder(base))
    if job.method == "supervised":
        return Way("sft", usual.trainer, msgspec.structs.replace(usual.params, **told), usual.inputs)
    told |= {"method": task.model.method, "budget": task.model.budget, "seed": job.seed, "base": job.base}
    told |= {"kind": job.kind, "schema": getattr(usual.params, "schema", None)}
    if job.method == "dpo":
        gold = msgspec.json.Decoder(dict[str, Any]).decode_lines(house.artifacts.get_bytes(material.judge["gold"]))
        pairs = house.artifacts.put_bytes(learned_pairs(folder, gold))
        told |= {} if job.hyperparameters.beta == "auto" else {"beta": float(job.hyperparameters.beta)}
        return Way("dpo", dpo, msgspec.convert(told, dpo.Params), {"base": base, "pairs": pairs})
    params = msgspec.convert({**told, "reward": job.reward}, grpo.Params)
    return Way("grpo", grpo, params, {"base": base, "train": material.train["train"]})


def _told(job: Job, task: Task, base: Path) -> dict[str, Any]:
    """Return what the caller decided of epochs and learning rate; the trainer decides the rest."""
    told: dict[str, Any] = {}
    if job.hyperparameters.n_epochs != "auto":
        told["epochs"] = float(job.hyperparameters.n_epochs)
    if job.hyperparameters.learning_rate_multiplier != "auto":
        hidden = int(msgspec.json.decode((base / "config.json").read_bytes())["hidden_size"])
        gentler = {"supervised": 1.0, "dpo": dpo.GENTLER, "reinforcement": grpo.GENTLER}[job.method]
        usual = gentler * usual_rate(hidden, task.model.method)
        told["learning_rate"] = float(job.hyperparameters.learning_rate_multiplier) * usual
    return told


def _method(job: Job, base: ModelVersion) -> Literal["auto", "full", "lora"]:
    """Return what the trainers would decide by themselves: a learning rate depends on it."""
    if job.kind == "classify":
        return "auto"
    return "full" if base.parameters <= SMALL else "lora"


def _floors(job: Job, base: ModelVersion, house: Making) -> dict[str, float]:
    """Return the floors of the task that the base was made for: a model derived from it may not fall below them."""
    known = house.catalog.tasks.get(base.model)
    if known is None or not known.spec:
        return {}
    task = msgspec.convert(known.spec, Task)
    return task.check.floor if task.kind == job.kind else {}


def _card(house: Making, base: ModelVersion) -> dict[str, Any]:
    path = house.artifacts.folder(base.folder) / "tokenworks.json"
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Any]) if path.is_file() else {}
