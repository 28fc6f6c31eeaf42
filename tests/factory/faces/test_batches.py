"""/v1/batches by the official client on a real server that is killed, and goes on."""

import json
from collections import Counter

import httpx
import msgspec
import openai
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from factory.platform_house import lines, name_of, until
from tokenworks.core.errors import ErasedError
from tokenworks.core.ids import pseudonym, sha256_hex
from tokenworks.factory.erasing import erase
from tokenworks.factory.house import House
from tokenworks.factory.reach import target_of
from tokenworks.governance.keys import SHOWN

OVER = ("completed", "failed", "cancelled", "expired")


def row(number, body, url="/v1/embeddings"):
    return {"custom_id": f"row-{number}", "method": "POST", "url": url, "body": body}


def chats(model, count, tokens=4):
    body = {"model": model, "max_tokens": tokens, "ignore_eos": True, "store": False}
    return [
        row(number, {**body, "messages": [{"role": "user", "content": f"card {number}"}]}, "/v1/chat/completions")
        for number in range(count)
    ]


def begin(client, rows, endpoint="/v1/embeddings", **more):
    data = rows if isinstance(rows, bytes) else lines(rows)
    file = client.files.create(file=("batch.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def ended(client, batch):
    return until(lambda: (found := client.batches.retrieve(batch.id)).status in OVER and found)


def read(client, id):
    return [json.loads(line) for line in client.files.content(id).text.split("\n") if line]


def test_every_line_is_answered_once_and_what_failed_stands_apart(server):
    client, model = server.client(), name_of(server, "bert")
    rows = [row(number, {"model": model, "input": f"card {number}"}) for number in range(40)]
    rows[7]["body"]["model"] = "nothing"
    rows[9]["body"]["colour"] = "red"
    batch = ended(client, begin(client, rows, metadata={"team": "a"}))
    assert (batch.status, batch.metadata) == ("completed", {"team": "a"})
    assert batch.request_counts.model_dump() == {"total": 40, "completed": 38, "failed": 2}
    output, errors = read(client, batch.output_file_id), read(client, batch.error_file_id)
    answered = {f"row-{number}" for number in range(40)} - {"row-7", "row-9"}
    assert sorted(one["custom_id"] for one in output) == sorted(answered)
    assert {(one["custom_id"], one["response"]["status_code"]) for one in errors} == {("row-7", 404), ("row-9", 400)}
    vector = client.embeddings.create(model=model, input="card 3", encoding_format="float").data[0].embedding
    third = next(one for one in output if one["custom_id"] == "row-3")
    assert third["response"]["body"]["data"][0]["embedding"] == pytest.approx(vector, abs=1e-5)
    entries = {entry.request_id: entry for entry in server.requests() if entry.face == "batch"}
    written = [one["response"]["request_id"] for one in output + errors]
    assert len(written) == len(set(written)) == 40
    assert {entries[id].outcome for id in written} == {"ok", "refused"}
    assert batch.usage.input_tokens == sum(entries[id].prompt_tokens for id in written)


def test_a_batch_that_a_grant_began_has_the_rights_of_the_grant_alone(server):
    bert, llama = name_of(server, "bert"), name_of(server, "llama")
    secret = server.new_key("granting", scopes=("infer", "files"))
    grant = server.new_grant(secret, task="nightly", models=(bert,))
    rows = [row(number, {"model": (bert, llama)[number], "input": "a card"}) for number in range(2)]
    batch = ended(server.client(grant), begin(server.client(grant), rows))
    (refused,) = read(server.client(grant), batch.error_file_id)
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("row-1", 403)
    assert "the grant for 'nightly' is for" in refused["response"]["body"]["error"]["message"]
    entries = [entry for entry in server.requests() if (entry.tenant, entry.face) == ("granting", "batch")]
    assert {(entry.key_id, entry.grant) for entry in entries} == {(secret[:SHOWN], grant[:SHOWN])}
    answered = [entry for entry in entries if entry.outcome == "ok"]  # beside them, what an engine was not ready for
    assert [entry.model for entry in answered] == [bert]
    assert [entry.model for entry in entries if entry.denied_by == "outside-grant"] == [llama]


def test_erasing_a_user_reaches_into_the_files_of_batches_while_the_server_serves(server):
    client, model = server.client(), name_of(server, "bert")
    rows = [row(number, {"model": model, "input": f"card {number}"}) for number in range(12)]
    for number in (3, 7):
        rows[number]["body"] |= {"input": f"zanzibar {number}", "user": "ada@example.org"}
    batch = ended(client, begin(client, rows))
    before = {one["custom_id"]: one for one in read(client, batch.output_file_id)}
    hers = [before[f"row-{number}"]["response"]["request_id"] for number in (3, 7)]
    assert [entry.user for entry in server.requests() if entry.request_id in hers] == [
        pseudonym("default", "ada@example.org")
    ] * 2
    old = [client.files.content(id).read() for id in (batch.input_file_id, batch.output_file_id)]
    with House(home=server.home) as house:
        done = erase(house, target_of(user="ada@example.org", tenant="default"), by="officer")
        assert done.requests == 2
        again = erase(house, target_of(user="ada@example.org", tenant="default"), by="officer")
        assert again.erasure_id == done.erasure_id
        for data in old:
            with pytest.raises(ErasedError, match=done.erasure_id):
                house.artifacts.get_bytes(sha256_hex(data))
    after = {one["custom_id"]: one for one in read(client, batch.output_file_id)}
    assert {name for name in before if before[name] != after[name]} == {"row-3", "row-7"}
    assert after["row-3"]["error"]["code"] == "erased"
    assert after["row-3"]["response"] is None
    asked = client.files.content(batch.input_file_id).read()
    assert (asked.count(b"card"), asked.count(b"zanzibar"), asked.count(b"\n")) == (10, 0, 12)
    assert client.files.retrieve(batch.input_file_id).bytes == len(asked)
    again = ended(client, client.batches.create(
        input_file_id=batch.input_file_id, endpoint="/v1/embeddings", completion_window="24h"
    ))  # fmt: skip
    assert (again.status, [one.line for one in again.errors.data]) == ("failed", [4, 8])


def test_a_killed_server_goes_on_where_it_was(server):
    client, model = server.client(), name_of(server, "llama")
    batch = begin(client, chats(model, 300), "/v1/chat/completions")
    folder = server.home / "work" / "batches" / batch.id
    until(lambda: (folder / "output.jsonl").exists() and (folder / "output.jsonl").read_bytes().count(b"\n") >= 20)
    server.kill()
    before = (folder / "output.jsonl").read_bytes()
    with (folder / "output.jsonl").open("ab") as file:
        file.write(b'{"id":"batch_req-cut off by the ki')
    server.begin()
    client = server.client()
    batch = ended(client, batch)
    assert batch.status == "completed"
    assert batch.request_counts.completed == 300
    data = client.files.content(batch.output_file_id).read()
    assert data.startswith(before)  # what was answered before is not asked again
    output = [json.loads(line) for line in data.split("\n" if isinstance(data, str) else b"\n") if line]
    assert Counter(one["custom_id"] for one in output) == {f"row-{number}": 1 for number in range(300)}
    asked = {entry.request_id for entry in server.requests() if entry.face == "batch" and entry.outcome == "ok"}
    assert {one["response"]["request_id"] for one in output} <= asked
    assert batch.usage.output_tokens == 4 * 300
    assert not folder.exists()


def test_a_cancelled_batch_keeps_what_was_answered(server):
    client, model = server.client(), name_of(server, "llama")
    batch = begin(client, chats(model, 2000, tokens=16), "/v1/chat/completions")
    until(lambda: client.batches.retrieve(batch.id).request_counts.completed > 0)
    assert client.batches.cancel(batch.id).status == "cancelling"
    batch = ended(client, batch)
    assert batch.status == "cancelled"
    assert 0 < len(read(client, batch.output_file_id)) == batch.request_counts.completed < 2000
    with pytest.raises(openai.BadRequestError, match="is cancelled"):
        client.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("rows", "code", "line"),
    [
        (b"", "empty_file", None),
        (b'{"custom_id": "a"}\n', "invalid_json_line", 1),
        (b"\n{not json\n", "invalid_json_line", 2),
        (lines([row(1, {}), row(1, {})]), "duplicate_custom_id", 2),
        (lines([row(1, {}, "/v1/completions")]), "mismatched_url", 1),
        (lines([row(1, {"stream": True})]), "invalid_request", 1),
        (lines([{**row(1, {}), "priority": 1}]), "invalid_json_line", 1),
    ],
)
def test_what_is_wrong_with_the_lines_fails_the_batch_before_anything_is_asked(server, rows, code, line):
    client = server.client()
    batch = ended(client, begin(client, rows or b"\n"))
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert (batch.errors.data[0].code, batch.errors.data[0].line) == (code, line)


def test_a_revoked_key_ends_the_batch(server):
    secret = server.new_key("default", scopes=["infer", "files"])
    client, model = server.client(secret), name_of(server, "llama")
    batch = begin(
        client,
        chats(model, 5000, tokens=16),
        "/v1/chat/completions",
    )
    until(lambda: client.batches.retrieve(batch.id).request_counts.completed > 0)
    server.revoke(secret)
    other = server.client(server.new_key("default", scopes=["files"]))
    batch = ended(other, batch)
    assert batch.status == "failed"
    assert "revoked" in batch.errors.data[0].message


def test_another_tenant_sees_nothing(server):
    client = server.client()
    batch = ended(client, begin(client, b"\n"))
    rival = server.client(server.new_key("rival", scopes=["infer", "files"]))
    for ask in (rival.batches.retrieve, rival.batches.cancel):
        with pytest.raises(openai.NotFoundError):
            ask(batch.id)
    assert rival.batches.list().data == []
    with pytest.raises(openai.NotFoundError):
        rival.batches.create(input_file_id=batch.input_file_id, endpoint="/v1/embeddings", completion_window="24h")


def test_a_file_that_is_no_batch_and_what_is_not_done_are_refused_by_name(server):
    client = server.client()
    file = client.files.create(file=("x.jsonl", b"{}\n"), purpose="evals")
    asked = {"input_file_id": file.id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
    for wrong, words in [
        ({}, "uploaded for 'evals'"),
        ({"endpoint": "/v1/responses"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, "unknown field"),
    ]:
        with pytest.raises(openai.BadRequestError) as refusal:
            client.post("/batches", body={**asked, **wrong}, cast_to=object)
        assert words in refusal.value.message


def test_a_batch_is_as_published(server, data_folder):
    client, model = server.client(), name_of(server, "bert")
    described = msgspec.json.decode((data_folder / "api-conformance" / "openai" / "openapi.json").read_bytes())
    registry = Registry().with_resource("urn:openai", Resource(described, DRAFT202012))
    done = ended(client, begin(client, [row(1, {"model": model, "input": "a"})]))
    failed = ended(client, begin(client, b"\n"))
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers) as http:
        answers = {"ListBatchesResponse": [http.get("/batches").json()]}
        answers["Batch"] = [http.get(f"/batches/{one.id}").json() for one in (done, failed)]
    for name, found in answers.items():
        checker = Draft202012Validator({"$ref": f"urn:openai#/components/schemas/{name}"}, registry=registry)
        assert not [error.message for one in found for error in checker.iter_errors(one)]
