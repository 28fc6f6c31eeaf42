"""The whole description in OpenAPI 3.1, of what is served."""

from __future__ import annotations

from collections.abc import Iterable

from tokenworks.core.version import __version__
from tokenworks.gateway.openapi import evals, files, jobs, messages, responses, services, tokens
from tokenworks.gateway.openapi.headers import OF_REFUSALS, OF_TOKENS, headers, parameters, told
from tokenworks.gateway.openapi.operation import HEALTH, TOKENS, Operation, Query, Refusal
from tokenworks.gateway.openapi.schemas import Schema, Schemas

Place = tuple[str, str]
ALL = (
    *tokens.OPERATIONS,
    *messages.OPERATIONS,
    *responses.OPERATIONS,
    *services.OPERATIONS,
    *files.OPERATIONS,
    *jobs.OPERATIONS,
    *evals.OPERATIONS,
)
DESCRIBED = {one.place: one for one in ALL}
ABOUT = """\
Tokens from an organisation's own models, in the forms of the OpenAI and Anthropic APIs. A field that is not described \
here is refused by its name. Every answer carries `x-request-id`; a request for tokens stands under it on the ledger, \
whatever became of it. Besides what is listed per path, a method that a path lacks is answered 405, a path that \
does not exist 404, and what is no HTTP 400 or 408, all with the error object."""
SAYS = {
    400: "The request cannot be meant as it stands; `param` names the field.",
    401: "No valid key.",
    403: "The key, or a policy, does not allow it.",
    404: "It does not exist, or not for this key.",
    408: "The body did not arrive in time.",
    409: "It contradicts what is there.",
    410: "It was erased.",
    413: "The body is too large.",
    415: "The body is encoded.",
    422: "The idempotency key stands for another request.",
    429: "A limit is reached.",
    500: "The gateway failed.",
    502: "The engine failed; asking again is right.",
    503: "Not now, but soon.",
    504: "The answer was not complete at its deadline.",
}


def describe(served: Iterable[Place]) -> Schema:
    """Return the description of what is served; raise `KeyError` with a place that nobody has described."""
    operations = sorted((DESCRIBED[place] for place in served), key=lambda one: (one.path, one.method))
    schemas = Schemas(operations)
    paths: dict[str, Schema] = {}
    for one in operations:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tokenworks",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "tags": [{"name": name} for name in sorted({one.tag for one in operations})],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key, or a token of a person's."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "A key."},
            },
            "parameters": parameters(),
            "headers": headers(),
            "responses": _refusals(operations, schemas),
            "schemas": dict(sorted(schemas.components.items())),
        },
    }


def _operation(one: Operation, schemas: Schemas) -> Schema:
    said: Schema = {"operationId": one.id, "tags": [one.tag], "summary": one.summary}
    if one.refusals is HEALTH:
        said["security"] = []
    said["parameters"] = [
        *({"name": name, "in": "path", "required": True, "schema": _NAME} for name in one.named),
        *(_query(query, one, schemas) for query in one.query),
        *({"$ref": f"#/components/parameters/{name}"} for name in ("x-request-id", *one.headers)),
    ]
    if asked := one.body or one.form:
        media = "multipart/form-data" if one.form else "application/json"
        said["requestBody"] = {"required": True, "content": {media: {"schema": schemas.of(one.family, asked)}}}
    said["responses"] = _responses(one, schemas)
    return said


_NAME = {"type": "string", "minLength": 1}


def _query(query: Query, one: Operation, schemas: Schemas) -> Schema:
    form: Schema = {"style": "deepObject", "explode": True} if query.family else {}
    shown = {"name": query.name, "in": "query", "required": False, "description": query.summary, **form}
    return {**shown, "schema": schemas.of(one.family, query.type)}


def _responses(one: Operation, schemas: Schemas) -> Schema:
    content: Schema = {one.media: {} if one.answer is None else {"schema": schemas.of(one.family, one.answer)}}
    if one.events is not None:
        content["text/event-stream"] = {"schema": _event(one, schemas)}
    names = OF_TOKENS if one.refusals is TOKENS else ()
    answer = {"description": one.summary, "headers": told(*one.answered, *names), "content": content}
    refused = {status: {"$ref": f"#/components/responses/{_name(one, status)}"} for status in one.refusals}
    answers = dict.fromkeys((one.status, *one.also), answer)
    return {str(status): shown for status, shown in sorted({**refused, **answers}.items())}


def _event(one: Operation, schemas: Schemas) -> Schema:
    """Return the schema of one event: in OpenAPI 3.1 that of a stream is that of each of its events."""
    data = [schemas.of(one.family, one.events)]
    if one.done:
        data.append(schemas.of("", Refusal))
    schema = data[0] if len(data) == 1 else {"anyOf": data}
    inside: Schema = {"type": "string", "contentMediaType": "application/json", "contentSchema": schema}
    shown = {"anyOf": [{"const": "[DONE]"}, inside]} if one.done else inside
    return {"type": "object", "required": ["data"], "properties": {"event": {"type": "string"}, "data": shown}}


def _refusals(operations: list[Operation], schemas: Schemas) -> Schema:
    """Return the answer of each status that is no success, by the form of its error object."""
    found: Schema = {}
    for one in operations:
        family = one.family if one.refusal is not Refusal else ""
        for status in sorted(one.refusals):
            found[_name(one, status)] = {
                "description": SAYS[status],
                "headers": told(*one.answered, *OF_REFUSALS.get(status, ())),
                "content": {"application/json": {"schema": schemas.of(family, one.refusal)}},
            }
    return dict(sorted(found.items()))


def _name(one: Operation, status: int) -> str:
    return f"{one.family if one.refusal is not Refusal else ''}Refused{status}"
