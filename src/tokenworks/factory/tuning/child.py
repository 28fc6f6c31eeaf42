"""The process that makes a job's model: validate, train, judge, release. Killed anywhere, the next one goes on.

`python -m tokenworks.factory.tuning.child --home HOME --job ID --for PID [--until validated]`
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal, get_args

import msgspec
import structlog

from tokenworks.core.errors import DataError, TokenworksError
from tokenworks.core.faults import log_without_content
from tokenworks.core.files import locked
from tokenworks.core.process import die_with
from tokenworks.core.task import Task
from tokenworks.factory import Factory
from tokenworks.factory.tuning import Until
from tokenworks.factory.tuning.ending import Made, finish
from tokenworks.factory.tuning.progress import Progress
from tokenworks.factory.tuning.ways import task_of, way_of
from tokenworks.gateway.platform.jobs import KIND, OPEN, Job, JobError, tell
from tokenworks.gateway.platform.shelf import change
from tokenworks.line.evaluate.verdict import Check
from tokenworks.line.recipes import Material

log = structlog.get_logger()


class EndedError(Exception):
    """The job is over already: cancelled by its caller, or finished by another process."""


class Working:
    """One job on its way."""

    def __init__(self, factory: Factory, id: str) -> None:
        found = factory.catalog.objects.get(KIND, id)
        if found is None:
            raise EndedError
        self.factory = factory
        self.id = id
        self.tenant = found.scope
        self.job = msgspec.convert(found.body, Job)
        self.folder = factory.home / "work" / "tuning" / id
        self.task: Task
        self.material: Material

    def validate(self) -> None:
        """Read the job's files and divide them; the job is queued afterwards."""
        self._require_open()
        self.task = task_of(self.job, self.tenant, self.factory, self.folder)
        self.material = self.factory.producer.gather(self.task)
        if self.job.status == "validating_files":
            self._become(status="queued")
            self._tell("Files validated, job queued", once="queued")

    def release(self) -> None:
        """Train, judge, seal, and give the model its name; then the job has succeeded."""
        self._become(status="running")
        self._tell("Fine-tuning job started", once="running")
        producer = self.factory.producer
        way = way_of(self.job, self.task, self.material, self.factory, self.folder)
        plan = producer.runner.run(way.trainer.PLAN, way.inputs, way.params, task=self.task.name)
        self._expect(plan["plan"])
        trained = producer.train(self.task, way)
        judged = producer.judge(self.task, self.material, trained, None)
        _require_floors(judged.verdict.checks)
        version = producer.register(self.task, self.material, trained, judged.report)
        evidence = producer.keep(judged.verdict)
        self._become(status="running", releasing=True)
        made = Made(self.id, self.tenant, self.job, self.task, way, plan["plan"], trained.key, version, evidence)
        finish(made, self.factory)

    def fail(self, error: JobError) -> None:
        """End the job with `error`, unless it has ended otherwise."""
        now = self.factory.clock.now()

        def step(job: Job) -> Job | None:
            if job.status not in OPEN:
                return None
            ended = {"finished_at": int(now), "estimated_finish": None, "releasing": False}
            return msgspec.structs.replace(job, status="failed", error=error, **ended)

        if change(self.factory.catalog.objects, KIND, self.id, Job, step) is not None:
            self._tell(f"The job failed: {error.message}", once="failed", level="error")

    def _expect(self, plan: str) -> None:
        """Say when it will be done, as far as the trainer's plan knows."""
        read = msgspec.json.decode(self.factory.artifacts.get_bytes(plan))
        self._tell(f"Plan: {read['why']}", once="planned")
        self._become(status="running", estimated_finish=int(self.factory.clock.now() + read["expected_s"]))

    def _become(self, **fields: object) -> None:
        """Change the job; raise `EndedError` where it is over."""

        def step(job: Job) -> Job | None:
            return msgspec.structs.replace(job, **fields) if job.status in OPEN else None

        after = change(self.factory.catalog.objects, KIND, self.id, Job, step)
        if after is None:
            raise EndedError
        self.job = after

    def _require_open(self) -> None:
        if self.job.status not in OPEN:
            raise EndedError

    def _tell(self, message: str, *, once: str, level: Literal["info", "error"] = "info") -> None:
        now = self.factory.clock.now()
        tell(self.factory.catalog.objects, self.id, message, at=now, once=once, level=level)


class BelowFloorError(TokenworksError):
    """The model is worse than the floors of its base allow."""


def _require_floors(checks: tuple[Check, ...]) -> None:
    for check in checks:
        if check.name.startswith("floor") and not check.holds:
            raise BelowFloorError(f"the model does not reach {check.name}: {check.says}")


def work(factory: Factory, id: str, until: Until) -> None:
    """Take job `id` as far as `until`; what goes wrong becomes the job's error."""
    try:
        working = Working(factory, id)
        factory.listening(Progress(factory.catalog.objects, id, factory.clock))
        try:
            _steps(working, until)
        except TokenworksError as error:
            working.fail(_error(error, working.job))
        except EndedError:
            raise
        except Exception:
            log.exception("fine-tuning job failed", job=id)
            working.fail(JobError(code="internal_error", message="the trainer failed; the server's log says why"))
    except EndedError:
        return


def _steps(working: Working, until: Until) -> None:
    working.validate()
    if until == "released":
        # One at a time in this home, whoever began it: the machine is one.
        with locked(working.factory.home / "work" / "tuning" / "training.lock"):
            working.release()


def _error(error: TokenworksError, job: Job) -> JobError:
    if isinstance(error, BelowFloorError):
        return JobError(code="below_floor", message=str(error))
    if job.status == "validating_files" and isinstance(error, DataError):
        param = "validation_file" if "validation_file/" in str(error) else "training_file"
        return JobError(code=f"invalid_{param}", message=str(error), param=param)
    return JobError(code="training_failed", message=str(error))


def main() -> None:
    """Run the job that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--for", dest="parent", type=int, required=True, help="process that this one ends with")
    parser.add_argument("--until", choices=get_args(Until), default="released")
    told = parser.parse_args()
    die_with(told.parent)
    log_without_content()
    with Factory(home=told.home, role="tuning") as factory:
        os.nice(factory.settings.platform.job_niceness)
        work(factory, told.job, told.until)


if __name__ == "__main__":
    main()
