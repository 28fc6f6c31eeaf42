"""The server's own description as a source of requests: what it allows, what it does not, and what may come of them."""

from __future__ import annotations

from typing import Any

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode
from schemathesis.openapi import from_dict
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

from conformance.served import Served

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
WRITERS = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/messages/count_tokens", "/v1/responses")
SHORT = {"max_tokens": 2, "max_output_tokens": 2}  # of an answer, wherever its length can be said
NOT_SO = ("unknown field", "is missing; add it", "the body ")  # the gateway's words; an engine has its own
TIMEOUT_S = 60


class Described:
    """The operations of a server, and the server to ask them."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.document: dict[str, Any] = httpx.get(f"{served.url}/openapi.json").json()
        config = schemathesis.Config.from_dict({"base-url": served.url})
        operations = from_dict(self.document, config=config).get_all_operations()
        self.operations: list[APIOperation] = sorted((one.ok() for one in operations), key=_deletions_last)
        self.recorded: list[tuple[str, int]] = []  # (request id, status) of everything asked of a model
        self.asked = 0
        self._names = _made(served)
        self._session = requests.Session()

    def takes(self, mode: GenerationMode) -> list[APIOperation]:
        """Return the operations that can be asked so: without body and query there is nothing to be wrong."""
        allowed = mode is GenerationMode.POSITIVE
        return [one for one in self.operations if allowed or len(one.body) or len(one.query)]

    def checker(self, schema: dict[str, Any]) -> Draft202012Validator:
        """Return what finds faults with a value by a schema of the description."""
        return Draft202012Validator({**schema, "components": self.document["components"]})

    def fuzz(self, operation: APIOperation, mode: GenerationMode, examples: int, seeded: int) -> None:
        """Ask `operation` so often, as the description allows (positive) or not (negative)."""
        names = {} if operation.method == "delete" else {name: self._names[name] for name in _named(operation)}
        cases = operation.as_strategy(generation_mode=mode, path_parameters=names or None)

        @seed(seeded)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases)
        def ask(case: Case) -> None:
            self._ask(case, mode)

        ask()

    def _ask(self, case: Case, mode: GenerationMode) -> None:
        if mode is GenerationMode.POSITIVE:
            self._mean(case)
        if case.headers:
            case.headers.pop("x-request-id", None)  # each request stands on the ledger under an id of its own
            assume(all(value.strip() for value in case.headers.values()))  # an empty header is as good as none
        key = {"authorization": f"Bearer {self.served.key}"}
        answer = case.call(session=self._session, headers=key, timeout=TIMEOUT_S)
        self.asked += 1
        case.validate_response(answer, checks=CHECKS)
        assert answer.status_code != 500, answer.text
        if mode is GenerationMode.POSITIVE and answer.status_code == 400:
            said = answer.json()["error"]["message"]
            assert not any(words in said for words in NOT_SO), answer.text
        if case.operation.tags == ["Health"]:
            return
        if case.operation.tags[0] in ("Tokens", "Messages") or case.operation.label == "POST /v1/responses":
            self.recorded.append((answer.headers["x-request-id"][0], answer.status_code))
        else:
            assert answer.status_code < 500, answer.text

    def _mean(self, case: Case) -> None:
        """Ask a model that there is, and for little."""
        if isinstance(case.body, dict) and "model" in case.body and case.path != "/v1/moderations":
            writes = case.path in WRITERS
            case.body["model"] = self.served.writer if writes else self.served.embedder
            case.body |= {name: most for name, most in SHORT.items() if case.body.get(name)}


def _named(operation: APIOperation) -> list[str]:
    return [one.name for one in operation.path_parameters]


def _deletions_last(operation: APIOperation) -> tuple[bool, str]:
    return operation.method == "delete", operation.label


def _made(served: Served) -> dict[str, str]:
    """Return the name of something that there is, for whatever a path can name."""
    client, row = served.client(), {"item": {"a": "b"}}
    with client:
        file = client.files.create(file=("rows.jsonl", b'{"item": {"a": "b"}}\n'), purpose="batch")
        batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
        check = {"type": "string_check", "name": "same", "input": "{{item.a}}", "reference": "b", "operation": "eq"}
        config = {"type": "custom", "item_schema": {"type": "object"}}
        measured = client.evals.create(data_source_config=config, testing_criteria=[check])
        source = {"type": "jsonl", "source": {"type": "file_content", "content": [row]}}
        run = client.evals.runs.create(measured.id, data_source=source)
        response = client.responses.create(model=served.writer, input="a card", max_output_tokens=2)
        chat = client.completions.with_raw_response.create(model=served.writer, prompt="a card", max_tokens=2)
    return {
        "file_id": file.id,
        "batch_id": batch.id,
        "eval_id": measured.id,
        "run_id": run.id,
        "output_item_id": f"outputitem-{run.id.removeprefix('evalrun-')}-00000001",
        "response_id": response.id,
        "request_id": chat.headers["x-request-id"],
        "model": served.writer,
        "vector_store_id": "documents",
        "job_id": "ftjob-none",  # to make one takes as long as all the rest
    }
