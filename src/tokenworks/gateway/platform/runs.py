"""/v1/evals/*/runs: what a model answers to every row, and how many answers meet the criteria."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tokenworks.core.clock import Clock
from tokenworks.core.ids import new_id
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import ApiError, bad_request, not_found
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.layers.authorise import find_model
from tokenworks.gateway.platform.asked import Metadata
from tokenworks.gateway.platform.call import Call, call_of, reply
from tokenworks.gateway.platform.criteria import LabelModel, ScoreModel, read_criteria
from tokenworks.gateway.platform.elsewhere import Runner
from tokenworks.gateway.platform.evals import ITEM, NAME, RUN, Evals, forget_run
from tokenworks.gateway.platform.files import Files
from tokenworks.gateway.platform.pages import page
from tokenworks.gateway.platform.running import LIVE, Run
from tokenworks.gateway.platform.shelf import change
from tokenworks.gateway.platform.sources import Completions, DataSource, FileId, check_source, refuse_unsupported
from tokenworks.gateway.platform.theirs import cleared
from tokenworks.gateway.releases import Releases
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects


class CreateRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/evals/{id}/runs."""

    data_source: DataSource
    name: NAME | None = None
    metadata: Metadata | None = None


class AnySource(msgspec.Struct, frozen=True, kw_only=True):
    """The part that is looked at first."""

    data_source: dict[str, Any]


class Runs:
    """The runs of all evals."""

    def __init__(
        self, objects: Objects, evals: Evals, files: Files, releases: Releases, running: Runner, *, clock: Clock
    ) -> None:
        self._objects = objects
        self._evals = evals
        self._files = files
        self._releases = releases
        self._running = running
        self._clock = clock

    async def create(self, exchange: Exchange) -> Reply:
        """Begin a run; it goes on in the background, in the caller's name."""
        call = await call_of(exchange, "evals")
        call.known()
        refuse_unsupported(call.decode(AnySource).data_source)
        body = call.decode(CreateRun)
        check_source(body.data_source)
        of = await asyncio.to_thread(self._evals.find, call.who, call.targets[0])
        data = await self._data_label(call, body.data_source)
        asks = isinstance(body.data_source, Completions)
        own = call.label if asks else call.said  # of the messages that it asks with
        label = highest([data, own, Label.parse(of.body.get("label", str(Label.PUBLIC)))])
        seen = [label]
        for model in _models(of, body.data_source):
            seen.append(Label.parse((await find_model(self._releases, call.who, model)).label))
        run = Run(
            eval_id=of.id,
            name=body.name or f"{of.body['name']} run",
            model=body.data_source.model if isinstance(body.data_source, Completions) else "",
            data_source=msgspec.to_builtins(body.data_source),
            metadata=body.metadata or {},
            tenant=call.who.tenant,
            key_id=call.who.credential_id,
            data_label=str(label),
            label=str(highest(seen)),
        )
        made = Object(
            kind=RUN, id=new_id("evalrun"), scope=of.id, body=msgspec.to_builtins(run), created_at=self._clock.now()
        )
        await asyncio.to_thread(self._objects.add, made)
        self._running.begin(made.id)
        return reply(shown(made), 201)

    def list(self, call: Call) -> Any:
        """Return the runs of an eval, oldest first."""
        call.known("after", "limit", "order", "status")
        found = self._objects.of(RUN, self._evals.find(call.who, call.targets[0]).id)
        wanted = call.query.get("status")
        found = [one for one in found if cleared(call.who, one) and wanted in (None, one.body["status"])]
        return page(call, found, shown, order="asc")

    def get(self, call: Call) -> Any:
        """Return one run."""
        call.known()
        return shown(self._find(call))

    def cancel(self, call: Call) -> Any:
        """End a run; what it has found so far stays."""
        call.known()
        found = self._find(call)

        def step(run: Run) -> Run | None:
            return msgspec.structs.replace(run, status="canceled") if run.status in LIVE else None

        if change(self._objects, RUN, found.id, Run, step) is None:
            raise ApiError(400, f"run {found.id} is {found.body['status']} already", code="run_not_cancellable")
        self._running.end(found.id)
        return shown(self._find(call))

    def delete(self, call: Call) -> Any:
        """Forget a run and its items."""
        call.known()
        found = self._find(call)
        self._running.end(found.id)
        forget_run(self._objects, found.id)
        return {"object": "eval.run.deleted", "deleted": True, "run_id": found.id}

    def items(self, call: Call) -> Any:
        """Return what was found for each row."""
        call.known("after", "limit", "order", "status")
        status = call.query.get("status")
        kept: dict[str | None, tuple[str, ...]] = {None: (), "pass": ("pass",), "failed": ("fail", "error")}
        if status not in kept:
            raise bad_request(f"status is {status!r}; it must be pass or failed", param="status")
        found = self._objects.of(ITEM, self._find(call).id)
        found = sorted(found, key=lambda one: one.id)
        found = [one for one in found if not kept[status] or one.body["status"] in kept[status]]
        return page(call, found, _item, order="asc")

    def item(self, call: Call) -> Any:
        """Return what was found for one row."""
        call.known()
        run = self._find(call)
        found = self._objects.get(ITEM, call.targets[2])
        if found is None or found.scope != run.id:
            raise not_found(f"output item {call.targets[2]!r} is not of run {run.id}", code="output_item_not_found")
        return _item(found)

    async def _data_label(self, call: Call, source: DataSource) -> Label:
        if not isinstance(source.source, FileId):
            return call.label
        file = await asyncio.to_thread(self._files.find, call.who, source.source.id, param="data_source.source.id")
        return Label.parse(file.body["label"])

    def _find(self, call: Call) -> Object:
        of = self._evals.find(call.who, call.targets[0])
        found = self._objects.get(RUN, call.targets[1])
        if found is None or found.scope != of.id or not cleared(call.who, found):
            raise not_found(f"run {call.targets[1]!r} of eval {of.id} does not exist", code="run_not_found")
        return found


def shown(found: Object) -> dict[str, Any]:
    """Return OpenAI's run object; `label` is ours."""
    run = msgspec.convert(found.body, Run)
    return {
        "object": "eval.run",
        "id": found.id,
        "eval_id": run.eval_id,
        "name": run.name,
        "model": run.model,
        "status": run.status,
        "created_at": int(found.created_at),
        "report_url": f"/v1/evals/{run.eval_id}/runs/{found.id}/output_items",
        "result_counts": run.counts,
        "per_model_usage": run.usage,
        "per_testing_criteria_results": run.criteria,
        "data_source": run.data_source,
        "metadata": run.metadata,
        "error": run.error,
        "label": run.label,
    }


def _item(found: Object) -> dict[str, Any]:
    return {"object": "eval.run.output_item", "id": found.id, "created_at": int(found.created_at), **found.body}


def _models(of: Object, source: DataSource) -> list[str]:
    judges = [
        one.model for one in read_criteria(of.body["testing_criteria"]) if isinstance(one, LabelModel | ScoreModel)
    ]
    return [*judges, *([source.model] if isinstance(source, Completions) else [])]
