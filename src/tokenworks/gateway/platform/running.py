"""Runs of evals in the background: row by row, each kept as soon as it is known, so that a restart goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Literal

import msgspec
import structlog

from tokenworks.core.clock import Clock
from tokenworks.core.errors import DataError, TokenworksError
from tokenworks.core.label import Label, highest
from tokenworks.core.request import Answerer
from tokenworks.gateway.platform.asking import Ask, Asked, NotAllowedError, asking
from tokenworks.gateway.platform.criteria import AnyCriterion, read_criteria
from tokenworks.gateway.platform.errands import Errands
from tokenworks.gateway.platform.evals import ITEM, RUN, validator
from tokenworks.gateway.platform.evals import KIND as EVAL
from tokenworks.gateway.platform.files import KIND as FILE
from tokenworks.gateway.platform.graders import Graded, filled, grade
from tokenworks.gateway.platform.shelf import add_once, change
from tokenworks.gateway.platform.sources import Completions, DataSource, FileId, Row, Template, rows_of
from tokenworks.gateway.platform.templates import lookup
from tokenworks.gateway.releases import Releases
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

LIVE = frozenset({"queued", "in_progress"})
BATCH = 32  # rows in memory at a time
COUNTS = {"total": 0, "errored": 0, "failed": 0, "passed": 0}
COUNTED = {"pass": "passed", "fail": "failed", "error": "errored"}
NO_ANSWER = Asked(model="", version="", input=[], text="", finish_reason="")
AskAs = Callable[[str], Ask]  # by the label of what is asked
log = structlog.get_logger()


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is kept."""

    eval_id: str
    name: str
    model: str
    data_source: dict[str, Any]
    metadata: dict[str, str]
    tenant: str
    key_id: str  # in whose name models are asked
    data_label: str
    label: str  # the highest of the data and the models
    status: Literal["queued", "in_progress", "completed", "failed", "canceled"] = "queued"
    counts: dict[str, int] = msgspec.field(default_factory=COUNTS.copy)
    usage: list[dict[str, Any]] = []
    criteria: list[dict[str, Any]] = []
    error: dict[str, str] | None = None


class Running:
    """What runs now. Belongs to one event loop; `begin` and `end` may be called from any thread."""

    def __init__(
        self,
        objects: Objects,
        artifacts: ArtifactStore,
        releases: Releases,
        answer: Answerer,
        *,
        clock: Clock,
        concurrency: int,
    ) -> None:
        self._objects = objects
        self._artifacts = artifacts
        self._releases = releases
        self._answer = answer
        self._clock = clock
        self._concurrency = concurrency
        self._errands = Errands("eval run", self._guarded)

    async def resume(self) -> None:
        """Take up what the last process left."""
        for found in await asyncio.to_thread(self._objects.of, RUN):
            if found.body["status"] in LIVE:
                self._errands.start(found.id)

    def begin(self, id: str) -> None:
        """Run it in the background."""
        self._errands.begin(id)

    def end(self, id: str) -> None:
        """Stop it, where it runs here; what it is said to be is the caller's business."""
        self._errands.end(id)

    async def close(self) -> None:
        """Stop everything; it goes on at the next start."""
        await self._errands.close()

    async def _guarded(self, id: str) -> None:
        """A border: whatever a run dies of becomes its error."""
        try:
            error = await self._run(id)
        except NotAllowedError as refused:
            error = {"code": "not_allowed", "message": str(refused)}
        except DataError as wrong:
            error = {"code": "invalid_data", "message": str(wrong)}
        except TokenworksError as failed:
            error = {"code": "run_failed", "message": str(failed)}
        except Exception:
            log.exception("eval run failed", run=id)
            error = {"code": "internal_error", "message": f"the run failed; the server's log says why, under {id}"}
        await asyncio.to_thread(self._finish, id, error)

    async def _run(self, id: str) -> dict[str, str] | None:
        run = await asyncio.to_thread(self._take, id)
        if run is None:
            return None
        of = await asyncio.to_thread(self._objects.get, EVAL, run.eval_id)
        if of is None:
            return {"code": "eval_deleted", "message": f"eval {run.eval_id} was deleted"}
        source: DataSource = msgspec.convert(run.data_source, DataSource)
        await asyncio.to_thread(self._check_rows, source, of)
        done = {one.id for one in await asyncio.to_thread(self._objects.of, ITEM, id)}
        work = _Work(
            id,
            run,
            source,
            read_criteria(of.body["testing_criteria"]),
            partial(asking, self._answer, self._releases, run.key_id),
        )
        rows = self._rows(source)
        room = asyncio.Semaphore(self._concurrency)

        async def one(number: int, row: Row) -> None:
            async with room:
                body = await work.item(number, row)
            kept = Object(kind=ITEM, id=work.name(number), scope=id, body=body, created_at=self._clock.now())
            await asyncio.to_thread(add_once, self._objects, kept)

        while batch := await asyncio.to_thread(lambda: list(islice(rows, BATCH))):
            try:
                async with asyncio.TaskGroup() as group:
                    for number, row in batch:
                        if work.name(number) not in done:
                            group.create_task(one(number, row))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
            if (now := await asyncio.to_thread(self._objects.get, RUN, id)) is None or now.body["status"] not in LIVE:
                return None
        return None

    def _take(self, id: str) -> Run | None:
        def step(run: Run) -> Run | None:
            return msgspec.structs.replace(run, status="in_progress") if run.status in LIVE else None

        return change(self._objects, RUN, id, Run, step)

    def _rows(self, source: DataSource) -> Iterator[tuple[int, Row]]:
        file = self._objects.get(FILE, source.source.id) if isinstance(source.source, FileId) else None
        return rows_of(source, file, self._artifacts)

    def _check_rows(self, source: DataSource, of: Object) -> None:
        """Raise `DataError` naming the first row that is not what the eval says a row is."""
        checker = validator(of.body["item_schema"])
        for number, row in self._rows(source):
            wrong = next(checker.iter_errors(row.item), None)
            if wrong is not None:
                raise DataError(f"line {number}: the item is not what item_schema says: {wrong.message[:300]}")

    def _finish(self, id: str, error: dict[str, str] | None) -> None:
        """Sum up what was found; a run that was cancelled keeps its word."""
        items = [one.body for one in self._objects.of(ITEM, id)]
        counts = Counter(COUNTED[one["status"]] for one in items)

        def step(run: Run) -> Run:
            status = run.status if run.status not in LIVE else "failed" if error else "completed"
            return msgspec.structs.replace(
                run,
                status=status,
                error=error,
                counts={**COUNTS, **counts, "total": len(items)},
                usage=_usage(items),
                criteria=_criteria(items),
            )

        change(self._objects, RUN, id, Run, step)


class _Work:
    """What one run does with a row."""

    def __init__(self, id: str, run: Run, source: DataSource, criteria: list[AnyCriterion], ask_as: AskAs) -> None:
        self._id = id
        self._run = run
        self._source = source
        self._criteria = criteria
        self._ask_as = ask_as

    def name(self, number: int) -> str:
        """Return the id of the row's item: the same after a restart."""
        return f"outputitem-{self._id.removeprefix('evalrun-')}-{number:08d}"

    async def item(self, number: int, row: Row) -> dict[str, Any]:
        """Return the item of a row; what goes wrong with one row is that row's error."""
        graded: list[Graded] = []
        asked, error = NO_ANSWER, None
        try:
            asked = await self._sample(row)
            values = {"item": row.item, "sample": {"output_text": asked.text}}
            ask = self._ask_as(self._judged_as(asked))
            for criterion in self._criteria:
                graded.append(await grade(criterion, values, ask))
        except DataError as wrong:
            error = {"code": "item_failed", "message": str(wrong)}
        status = "error" if error else "pass" if all(one.passed for one in graded) else "fail"
        judges = [one.by for one in graded if one.by is not None]
        return {
            "run_id": self._id,
            "eval_id": self._run.eval_id,
            "status": status,
            "datasource_item_id": number - 1,
            "datasource_item": row.item,
            "results": [_result(one) for one in graded],
            "sample": {**asked.shown(), "error": error},
            "usage": [_used(one) for one in (asked, *judges) if one.model],
        }

    async def _sample(self, row: Row) -> Asked:
        """Return the model's answer, or the one that the row brought along."""
        if not isinstance(self._source, Completions):
            return msgspec.structs.replace(NO_ANSWER, text=str((row.sample or {}).get("output_text", "")))
        source = self._source
        values = {"item": row.item}
        if isinstance(source.input_messages, Template):
            messages = filled(source.input_messages.template, values)
        else:
            messages = lookup(source.input_messages.item_reference, values)
            if not isinstance(messages, list):
                raise DataError(f"{source.input_messages.item_reference} is no list of messages")
        ask = self._ask_as(self._run.data_label)
        return await ask(source.model, messages, msgspec.to_builtins(source.sampling_params))

    def _judged_as(self, asked: Asked) -> str:
        """Return the label of what a judge is told: that of the answer too, which its model may have raised."""
        return str(highest(Label.parse(one) for one in (self._run.data_label, asked.label) if one))


def reads(objects: Objects, tenant: str, file: str) -> str:
    """Return which run under way of the tenant still reads the file, empty where none does."""
    for found in objects.of(RUN):
        source = found.body["data_source"]["source"]
        if found.body["tenant"] == tenant and found.body["status"] in LIVE and source.get("id") == file:
            return f"eval run {found.id}"
    return ""


def _result(graded: Graded) -> dict[str, Any]:
    return {name: getattr(graded, name) for name in ("name", "type", "score", "passed", "sample")}


def _used(asked: Asked) -> dict[str, Any]:
    return {
        "model_name": asked.version or asked.model,
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": asked.completion_tokens,
        "cached_tokens": asked.cached_tokens,
        "request_id": asked.request_id,
    }


def _usage(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tokens by model version."""
    sums: dict[str, Counter[str]] = {}
    for one in (used for item in items for used in item["usage"]):
        counted = sums.setdefault(one["model_name"], Counter())
        counted["invocation_count"] += 1
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            counted[name] += one[name]
        counted["total_tokens"] += one["prompt_tokens"] + one["completion_tokens"]
    names = ("invocation_count", "prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens")
    return [{"model_name": model, **{name: counted[name] for name in names}} for model, counted in sums.items()]


def _criteria(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many answers met each criterion."""
    sums: dict[str, Counter[bool]] = {}
    for one in (result for item in items for result in item["results"]):
        sums.setdefault(one["name"], Counter())[one["passed"]] += 1
    return [
        {"testing_criteria": name, "passed": counted[True], "failed": counted[False]} for name, counted in sums.items()
    ]
