"""Another tenant with every scope, on every route: what it names does not exist, as if nobody had it. Nothing leaks."""

from __future__ import annotations

import re

import httpx
import pytest

from factory.platform_house import lines, name_of
from tokenworks.gateway.openapi.document import ALL
from tokenworks.governance.keys import SCOPES

SECRET = "the-launch-is-on-the-thirteenth"
EQUAL = {"type": "string_check", "name": "e", "input": "{{ item.a }}", "reference": "{{ item.a }}", "operation": "eq"}
IN_A_DAY = {"endpoint": "/v1/completions", "completion_window": "24h"}
BRINGS = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {"a": "b"}}]}}
NASTY = [
    "..%2f..%2fcatalog.db", "%2e%2e", ".%2e%2fkeys", "%00", "x%00y", "%ff%fe", "*", "%25", "%", "%zz", "a" * 5000,
    "%F0%9F%A6%86", "x%0d%0aset-cookie:%20a=b", "'%20or%201=1--", "%7B%7B7*7%7D%7D", "file-%", "%ED%A0%80", "%20", "_",
]  # fmt: skip
BODIES = {
    "/v1/evals/*": {"name": "mine"},
    "/v1/evals/*/runs": {"data_source": BRINGS},
    "/v1/vector_stores/*/search": {"query": "x"},
}


class World:
    """A tenant that has one of everything, and a stranger."""

    def __init__(self, server):
        self.server = server
        self.writer = name_of(server, "llama")
        self.mine, self.key = server.client(), server.new_key("strange", scopes=frozenset(SCOPES))
        self.theirs = httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {self.key}"}, timeout=60)
        said = self.mine.responses.with_raw_response.create(model=self.writer, input=SECRET, max_output_tokens=4)
        row = {
            "custom_id": "1",
            "method": "POST",
            "url": "/v1/completions",
            "body": {"model": self.writer, "prompt": SECRET},
        }
        batch_file = self.send(lines([row]), "batch")
        eval_file = self.send(lines([{"item": {"a": "b"}}]), "evals")
        tune_file = self.send(lines([{"text": "a", "label": "b"}]), "fine-tune")
        made = self.mine.evals.create(
            data_source_config={"type": "custom", "item_schema": {"type": "object"}}, testing_criteria=[EQUAL]
        )
        batch = self.mine.batches.create(input_file_id=batch_file, endpoint="/v1/completions", completion_window="24h")
        self.mine.batches.cancel(batch.id)
        self.files = {"batch": batch_file, "evals": eval_file, "fine-tune": tune_file}
        self.ids = {
            "/v1/files": eval_file,
            "/v1/batches": batch.id,
            "/v1/responses": said.parse().id,
            "/v1/evals": made.id,
            "run": self.mine.evals.runs.create(made.id, data_source=BRINGS).id,
            "/v1/feedback": said.headers["x-request-id"],
            "/v1/vector_stores": "docs",
            "/v1/models": self.writer,
            "/v1/fine_tuning/jobs": "",
        }

    def send(self, data, purpose):
        return self.mine.files.create(file=("f.jsonl", data), purpose=purpose).id

    def ask(self, method, path, body=None):
        return self.theirs.request(method, path, **({} if body is None else {"json": body}))


@pytest.fixture(scope="module")
def world(server):
    made = World(server)
    yield made
    made.theirs.close()


def plain(answer, *names):
    """Return status and body less what differs in any case."""
    text = answer.text
    for name in names:
        text = text.replace(name, "ID")
    return answer.status_code, re.sub(r"req-[a-z0-9]+", "REQ", text)


def no_such(name):
    """Return an id of the same form that nothing has."""
    return f"{name[:-4]}zzzz" if len(name) > 8 else "zzzz"


def test_what_another_tenant_has_is_as_what_nobody_has_on_every_route(world):
    looked = 0
    for one in ALL:
        root = next((root for root in world.ids if one.path.startswith(f"{root}/{{")), "")
        name = world.ids.get(root)
        if not name or root in ("/v1/models", "/v1/vector_stores"):
            continue
        looked += 1
        rest = {0: "", 1: world.ids["run"], 2: "outputitem-1"}
        paths = []
        for first in (name, no_such(name)):
            named = [first, *(rest[place] for place in range(1, len(one.named)))]
            path = one.path
            for hole, value in zip(one.named, named, strict=True):
                path = path.replace(f"{{{hole}}}", value)
            paths.append(path)
        answers = [world.ask(one.method, path, BODIES.get(one.place[1])) for path in paths]
        told = [plain(each, name, no_such(name)) for each in answers]
        assert told[0] == told[1], (one.method, one.path)
        assert told[0][0] == 404, (one.method, one.path, told)
    assert looked >= 20


def test_what_another_tenant_has_can_be_used_by_no_field(world):
    asked = [
        ("/v1/responses", "previous_response_id", world.ids["/v1/responses"], {"model": world.writer, "input": "x"}),
        ("/v1/batches", "input_file_id", world.files["batch"], IN_A_DAY),
        ("/v1/fine_tuning/jobs", "training_file", world.files["fine-tune"], {"model": name_of(world.server, "bert")}),
        ("/v1/feedback", "request_id", world.ids["/v1/feedback"], {"rating": 1}),
    ]  # fmt: skip
    for path, field, name, body in asked:
        told = [
            plain(world.ask("POST", path, {**body, field: each}), name, no_such(name)) for each in (name, no_such(name))
        ]
        assert told[0] == told[1], path
        assert told[0][0] == 404, (path, told)


def test_no_list_shows_or_is_begun_at_what_another_tenant_has(world):
    names = set(world.ids.values()) | set(world.files.values())
    for path in ("/v1/files", "/v1/batches", "/v1/evals", "/v1/fine_tuning/jobs", "/v1/models"):
        listed = world.ask("GET", path)
        assert listed.status_code == 200
        assert not [name for name in names - {world.writer, "", "docs"} if name in listed.text], path
        if path != "/v1/models":
            name = world.ids[path] or "ftjob-1"
            told = [
                plain(world.ask("GET", f"{path}?after={each}"), name, no_such(name)) for each in (name, no_such(name))
            ]
            assert told[0] == told[1]
            assert told[0][0] == 400


def test_an_idempotency_key_of_another_tenant_answers_nothing(world):
    body = {"model": world.writer, "prompt": SECRET, "max_tokens": 4, "temperature": 0}
    for client in (world.mine, None):
        headers = {"idempotency-key": "the same key"}
        if client is not None:
            client.completions.create(**body, extra_headers=headers)
            continue
        answer = world.theirs.post("/v1/completions", json=body, headers=headers)
        assert answer.status_code == 200
        assert "idempotency-replayed" not in answer.headers


def test_no_name_in_a_path_breaks_anything(world):
    for one in ALL:
        for nasty in NASTY if one.named else ():
            path = re.sub(r"\{\w+\}", nasty, one.path)
            url = httpx.URL(world.server.url).copy_with(raw_path=path.encode())
            answer = world.theirs.request(one.method, url, json=BODIES.get(one.place[1], {}))
            assert 400 <= answer.status_code < 500, (one.method, path, answer.text)
            assert "set-cookie" not in answer.headers


def test_neither_keys_nor_texts_are_on_disk_or_in_the_log(world):
    body = {"model": world.writer, "messages": [{"role": "user", "content": SECRET}], "max_tokens": 2, "user": SECRET}
    for headers in ({}, {"x-tokenworks-conversation": SECRET, "idempotency-key": SECRET, "traceparent": SECRET}):
        assert world.theirs.post("/v1/chat/completions", json=body, headers=headers).status_code == 200
    world.theirs.post("/v1/chat/completions", json={**body, SECRET: 1})
    world.theirs.post(f"/v1/{SECRET}", headers={"x-request-id": SECRET})
    world.theirs.get("/v1/models", headers={"authorization": f"Bearer {world.key[:-4]}zzzz", "x-api-key": world.key})
    places = [world.server.folder / "server.log", *world.server.home.rglob("*")]
    of_files = [world.server.home / "artifacts"]  # what was sent to be kept as it is
    for secret in (SECRET, world.key, world.server.key):
        found = [
            path
            for path in places
            if path.is_file()
            and not any(kept in path.parents for kept in of_files)
            and path.name != "api-key"
            and secret.encode() in path.read_bytes()
        ]
        assert found == [], secret
    world.theirs.post("/v1/chat/completions", json={**body, "model": SECRET})  # stands on the ledger, as asked for
    assert SECRET.encode() not in places[0].read_bytes()
    text = httpx.get(f"{world.server.url}/metrics").text
    assert SECRET not in text
    assert world.key not in text
