"""Background responses by the official client on a real server that is killed, and goes on."""

from factory.platform_house import name_of, until
from tokenworks.factory import Factory
from tokenworks.gateway.responses.waiting import WAITING

OVER = ("completed", "incomplete", "failed", "cancelled")


def left(server):
    with Factory(home=server.home, role="tests") as factory:
        return {one.id: one.body["kept"]["status"] for one in factory.catalog.objects.of(WAITING)}


def test_a_killed_server_takes_up_what_it_had_accepted(server):
    client, model = server.client(), name_of(server, "llama")
    asked = {"model": model, "input": "how do I", "max_output_tokens": 200, "temperature": 0.0}
    whole = client.responses.create(**asked)
    said = [client.responses.create(background=True, **asked).id for _ in range(40)]
    gone = client.responses.create(background=True, **asked).id
    assert client.responses.cancel(gone).status == "cancelled"
    server.kill()
    waited = left(server)
    assert set(waited) <= set(said)
    assert "in_progress" in waited.values()
    assert len(waited) > 1  # how many still wait for their turn depends on who is faster, client or engine
    server.begin()
    client = server.client()
    done = [until(lambda id=id: (found := client.responses.retrieve(id)).status in OVER and found) for id in said]
    assert {(one.status, one.output_text) for one in done} == {(whole.status, whole.output_text)}
    assert client.responses.retrieve(gone).status == "cancelled"
    assert left(server) == {}
    entries = [one for one in server.requests() if one.face in ("responses", "background")]
    assert sum(one.face == "background" for one in entries) == len(said) + 1
    assert sum(one.outcome == "ok" for one in entries if one.face == "responses") == len(said) + 1  # each once
