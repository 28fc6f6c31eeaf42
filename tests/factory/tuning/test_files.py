"""/v1/files by the official client on a real server: what is kept, for whom, and what is refused."""

import httpx
import openai
import pytest

from factory.platform_house import lines

ROWS = lines([{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}])


def send(client, data=ROWS, *, name="rows.jsonl", purpose="fine-tune", **more):
    return client.files.create(file=(name, data), purpose=purpose, **more)


def test_a_file_comes_back_as_it_was_sent(server):
    client = server.client()
    data = bytes(range(256)) * 8000  # two megabytes that are no text
    file = send(client, data, name="raw.bin", purpose="user_data")
    assert (file.bytes, file.filename, file.purpose) == (len(data), "raw.bin", "user_data")
    assert client.files.content(file.id).read() == data
    assert client.files.retrieve(file.id) == file


def test_files_are_listed_in_pages_by_purpose(server):
    client = server.client(server.new_key("pages", scopes=["files"]))
    sent = [send(client, name=f"{number}.jsonl").id for number in range(5)]
    send(client, purpose="evals")
    assert [one.id for one in client.files.list(purpose="fine-tune", order="asc")] == sent
    first = client.files.list(purpose="fine-tune", limit=2)
    assert [one.id for one in first.data] == sent[:2:-1]
    assert first.has_more
    assert len([one.id for one in client.files.list(limit=2)]) == 6  # the client walks through the pages


def test_a_deleted_file_is_gone_with_its_bytes(server):
    client = server.client()
    one, other = send(client, b"same bytes"), send(client, b"same bytes")
    assert client.files.delete(one.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(one.id)
    assert client.files.content(other.id).read() == b"same bytes"
    assert client.files.delete(other.id).deleted
    assert not server.has(b"same bytes")


def test_a_tenant_sees_only_its_own_and_a_key_only_what_it_is_cleared_for(server):
    file = send(server.client())  # of a key cleared for restricted: the file is restricted
    for key in (server.new_key("rival", scopes=["files"]), server.new_key("default", scopes=["files"])):
        client = server.client(key)
        assert file.id not in [one.id for one in client.files.list()]
        for ask in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError):
                ask(file.id)
    labelled = send(server.client(), extra_headers={"x-tokenworks-label": "internal"})
    assert server.client(key).files.retrieve(labelled.id).label == "internal"


def test_a_label_above_the_clearance_is_refused(server):
    client = server.client(server.new_key("default", scopes=["files"]))
    with pytest.raises(openai.PermissionDeniedError, match="cleared for internal"):
        send(client, extra_headers={"x-tokenworks-label": "restricted"})


def test_a_key_without_the_scope_is_refused(server):
    with pytest.raises(openai.PermissionDeniedError, match="lacks the scope 'files'"):
        send(server.client(server.new_key("default")))


def test_what_is_too_large_is_refused_and_leaves_nothing(server):
    client = server.client().with_options(max_retries=0)
    with pytest.raises(openai.APIStatusError, match=r"larger than 4 MB.*platform\.max_file_mb"):
        send(client, b"x" * 4_100_000)
    assert not list((server.home / "work" / "uploads").glob("*"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"purpose": "nonsense"}, "must be one of fine-tune"),
        ({"expires_after": {"anchor": "created_at", "seconds": 3600}}, "unknown field 'expires_after"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(server, more, words):
    with pytest.raises(openai.BadRequestError) as refusal:
        send(server.client(), **more)
    assert words in refusal.value.message


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_body_that_is_no_form_is_refused(server, kind):
    headers = {"authorization": f"Bearer {server.key}", "content-type": kind}
    answer = httpx.post(f"{server.url}/v1/files", content=b'{"file": 1}', headers=headers)
    assert answer.status_code == 400
    assert "form" in answer.json()["error"]["message"]


def test_unknown_parameters_of_lists_are_refused_by_name(server):
    with pytest.raises(openai.BadRequestError, match="unknown parameter 'colour'"):
        server.client().files.list(extra_query={"colour": "red"})
    with pytest.raises(openai.BadRequestError, match="limit is '0'"):
        server.client().files.list(limit=0)


def test_whoever_deletes_a_file_takes_no_bytes_of_a_model_away(server, tiny_bert):
    client = server.client(server.new_key("thief", scopes=["files"]))
    for place in sorted(tiny_bert.iterdir()):
        data = place.read_bytes()
        if place.is_file() and server.has(data):
            assert client.files.delete(send(client, data).id).deleted
            assert server.has(data), place.name
