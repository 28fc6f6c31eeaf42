"""/v1/evals: what is measured, and by which criteria."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from tokenworks.core.clock import Clock
from tokenworks.core.errors import MissingExtraError
from tokenworks.core.ids import new_id
from tokenworks.core.label import Label, highest
from tokenworks.gateway.errors import bad_request, not_found
from tokenworks.gateway.exchange import Exchange, Reply
from tokenworks.gateway.layers.authorise import find_model
from tokenworks.gateway.platform.asked import Metadata
from tokenworks.gateway.platform.call import Call, call_of, reply
from tokenworks.gateway.platform.criteria import LabelModel, ScoreModel, TextSimilarity, read_criteria
from tokenworks.gateway.platform.pages import page
from tokenworks.gateway.platform.shelf import change
from tokenworks.gateway.platform.similarity import measure_named
from tokenworks.gateway.platform.theirs import all_theirs, one_theirs
from tokenworks.gateway.releases import Releases
from tokenworks.governance.keys import Principal
from tokenworks.store.nouns import Object
from tokenworks.store.objects import Objects

KIND = "eval"
RUN = "eval.run"
ITEM = "eval.item"
NAME = Annotated[str, Meta(min_length=1, max_length=256)]
_SAMPLE = {"type": "object", "properties": {"output_text": {"type": "string"}}, "required": ["output_text"]}


class DataSourceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a row holds."""

    type: Literal["custom", "logs", "stored_completions"]
    item_schema: dict[str, Any] | None = None
    include_sample_schema: bool = False
    metadata: dict[str, Any] | None = None  # of logs and stored completions, which are refused


class CreateEval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/evals."""

    data_source_config: DataSourceConfig
    testing_criteria: Annotated[list[dict[str, Any]], Meta(min_length=1, max_length=32)]
    name: NAME | None = None
    metadata: Metadata | None = None


class UpdateEval(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST /v1/evals/{id}."""

    name: NAME | None = None
    metadata: Metadata | None = None


class Eval(msgspec.Struct, frozen=True, kw_only=True):
    """An eval as it is kept."""

    name: str
    item_schema: dict[str, Any]
    include_sample_schema: bool
    testing_criteria: list[dict[str, Any]]
    metadata: dict[str, str]
    label: str = str(Label.PUBLIC)  # of what it says, which goes to the models that judge


class Evals:
    """The evals of all tenants."""

    def __init__(self, objects: Objects, releases: Releases, *, clock: Clock) -> None:
        self._objects = objects
        self._releases = releases
        self._clock = clock

    async def create(self, exchange: Exchange) -> Reply:
        """Take an eval: its schema, its criteria and the models that judge are checked now."""
        call = await call_of(exchange, "evals")
        call.known()
        body = call.decode(CreateEval)
        source = body.data_source_config
        if source.type != "custom" or source.metadata is not None:
            raise bad_request(
                f"data_source_config.type {source.type!r} is not supported here: requests are read from files; "
                'use "custom" with an item_schema',
                param="data_source_config.type",
            )
        if source.item_schema is None:
            raise bad_request(
                "data_source_config.item_schema is missing; describe a row as JSON Schema",
                param="data_source_config.item_schema",
                code="missing_required_parameter",
            )
        await asyncio.to_thread(validator, source.item_schema)
        for criterion in read_criteria(body.testing_criteria):
            if isinstance(criterion, LabelModel | ScoreModel):
                await find_model(self._releases, call.who, criterion.model)
            elif isinstance(criterion, TextSimilarity):
                await asyncio.to_thread(_require_measure, criterion.evaluation_metric)
        kept = Eval(
            name=body.name or "Evaluation",
            item_schema=source.item_schema,
            include_sample_schema=source.include_sample_schema,
            testing_criteria=body.testing_criteria,
            metadata=body.metadata or {},
            label=str(call.label),
        )
        made = Object(
            kind=KIND,
            id=new_id("eval"),
            scope=call.who.tenant,
            body=msgspec.to_builtins(kept),
            created_at=self._clock.now(),
        )
        await asyncio.to_thread(self._objects.add, made)
        return reply(shown(made), 201)

    def list(self, call: Call) -> Any:
        """Return the caller's evals, oldest first."""
        call.known("after", "limit", "order", "order_by")
        if call.query.get("order_by", "created_at") != "created_at":
            raise bad_request("order_by can be created_at alone here", param="order_by")
        return page(call, all_theirs(self._objects, KIND, call.who), shown, order="asc")

    def get(self, call: Call) -> Any:
        """Return one eval."""
        call.known()
        return shown(self.find(call.who, call.targets[0]))

    def update(self, call: Call) -> Any:
        """Change name or metadata."""
        call.known()
        body = call.decode(UpdateEval)
        found = self.find(call.who, call.targets[0])

        def step(kept: Eval) -> Eval:
            metadata = kept.metadata if body.metadata is None else body.metadata
            label = highest([Label.parse(kept.label), call.said])
            return msgspec.structs.replace(kept, name=body.name or kept.name, metadata=metadata, label=str(label))

        change(self._objects, KIND, found.id, Eval, step)
        return shown(self.find(call.who, found.id))

    def delete(self, call: Call) -> Any:
        """Forget an eval with its runs and what they found; a run under way ends."""
        call.known()
        found = self.find(call.who, call.targets[0])
        self._objects.delete(KIND, found.id)
        for run in self._objects.of(RUN, found.id):
            forget_run(self._objects, run.id)
        return {"object": "eval.deleted", "deleted": True, "eval_id": found.id}

    def find(self, who: Principal, id: str) -> Object:
        """Return the eval; one of another tenant, or above the caller's clearance, does not exist."""
        found = one_theirs(self._objects, KIND, id, who)
        if found is None:
            raise not_found(
                f"eval {id!r} does not exist or is not yours; GET /v1/evals lists yours", code="eval_not_found"
            )
        return found


def forget_run(objects: Objects, run: str) -> None:
    """Delete a run and its items; killed in between, the items go with the next deletion of the same run."""
    objects.delete(RUN, run)
    for item in objects.of(ITEM, run):
        objects.delete(ITEM, item.id)


def _require_measure(name: str) -> None:
    """Raise 400 where the measure's library is not installed."""
    measure = measure_named(name)
    assert measure is not None, "checked with the other criteria"
    try:
        measure("", "")
    except MissingExtraError as error:
        raise bad_request(str(error), param="testing_criteria", code="unsupported_grader") from None


def validator(schema: dict[str, Any]) -> Any:
    """Return a validator of rows; it fetches nothing. Raises 400 for what is no JSON Schema."""
    from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # a second of a server start
    from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
    from referencing import Registry

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise bad_request(
            f"data_source_config.item_schema is no JSON Schema: {error.message}",
            param="data_source_config.item_schema",
        ) from None
    return Draft202012Validator(schema, registry=Registry())


def shown(found: Object) -> dict[str, Any]:
    """Return OpenAI's eval object; `label` is ours."""
    kept = msgspec.convert(found.body, Eval)
    sample = {"sample": _SAMPLE} if kept.include_sample_schema else {}
    schema = {"type": "object", "properties": {"item": kept.item_schema, **sample}, "required": ["item", *sample]}
    return {
        "object": "eval",
        "id": found.id,
        "name": kept.name,
        "created_at": int(found.created_at),
        "data_source_config": {"type": "custom", "schema": schema},
        "testing_criteria": kept.testing_criteria,
        "metadata": kept.metadata,
        "label": kept.label,
    }
