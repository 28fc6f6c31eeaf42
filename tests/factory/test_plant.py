"""A running server over a home: it answers, it searches, and it learns from feedback."""

import asyncio

import msgspec
import openai
import pytest

from factory.banking import questions
from tokenworks.core.ids import new_id
from tokenworks.factory import Factory
from tokenworks.factory.granting import local_key
from tokenworks.factory.plant import Plant
from tokenworks.factory.trying import try_out
from tokenworks.ledger.entries import TurnEntry
from tokenworks.ledger.reader import read
from tokenworks.settings import Settings


def client(plant):
    return openai.OpenAI(base_url=f"{plant.url}/v1", api_key=plant.key, max_retries=0)


def ask_and_correct(plant, rows):
    """Ask every question over HTTP and send the right answer back; return how many were right at once."""
    api, right = client(plant), 0
    for row in rows:
        asked = new_id("ticket")
        options = {"headers": {"x-request-id": asked}}
        answer = api.post("/classify", body={"model": "bank", "input": row["text"]}, cast_to=object, options=options)
        right += answer["data"][0]["label"] == row["label"]
        body = {"request_id": asked, "correction": row["label"]}
        api.post("/feedback", body=body, cast_to=object)
    return right


async def served(factory, work):
    async with Plant(factory) as plant:
        return await asyncio.to_thread(work, plant)


def test_corrections_turn_into_a_better_released_model_and_a_second_turn_finds_nothing_new(factory, bank):
    few = questions(30, seed=1)
    first = factory.make(bank(few))
    if not first.released:
        factory.promote("bank@1", reason="for the test")
    traffic = questions(300, seed=2)
    asyncio.run(served(factory, lambda plant: ask_and_correct(plant, traffic)))
    done = factory.turn("bank")
    assert done.new + done.selection["quarantined"] <= 300
    assert done.outcome == "promoted", factory.turn_story(done)
    assert f"bank@{factory.catalog.releases.current('bank').version}" == done.candidate
    verdict = factory.verdict(done.verdict)
    assert max(pair.low for pair in verdict.paired.values()) > 0
    again = factory.turn("bank")
    assert (again.new, again.outcome) == (0, "nothing-new")
    turns = [entry for _, entry in read(factory.ledger_root) if isinstance(entry, TurnEntry)]
    assert [(one.number, one.verdict) for one in turns] == [(1, "promoted"), (2, "nothing-new")]
    assert factory.turns.find("bank").number == 2


def test_the_local_key_is_made_once_and_readable_by_its_owner_alone(factory):
    key = local_key(factory)
    assert local_key(factory) == key
    assert (factory.home / "api-key").stat().st_mode & 0o777 == 0o600
    assert key not in (factory.home / "catalog.db").read_bytes().decode("latin-1")


def test_what_is_tried_out_and_does_not_hold_is_named(factory, bank):
    factory.remember(bank(questions(60)))

    async def run():
        async with Plant(factory) as plant:
            return await try_out(factory, plant.url, plant.key, ["bank"])

    assert asyncio.run(run()) == ["task bank: nothing was released; see: tokenworks report"]


@pytest.mark.parametrize("path", ["/v1/models", "/classify"])
def test_nobody_is_answered_without_a_key(factory, path):
    def refused(plant):
        api = openai.OpenAI(base_url=plant.url, api_key="tw-wrong", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            api.get(path, cast_to=object) if path == "/v1/models" else api.post(path, body={}, cast_to=object)

    asyncio.run(served(factory, refused))


def test_a_server_elsewhere_answers_as_remote_and_sees_only_what_may_leave(factory, tmp_path):
    def ask(plant, label):
        api = openai.OpenAI(base_url=f"{plant.url}/v1", api_key=plant.key, max_retries=0)
        headers = {"x-tokenworks-label": label} if label else {}
        return api.embeddings.create(model="remote", input="hello", extra_headers=headers).data[0].embedding

    async def run():
        async with Plant(factory) as there:
            await there.opened
            own = await asyncio.to_thread(lambda: client(there).embeddings.create(model="minilm", input="hello"))
            table = {"home": str(tmp_path / "here"), "server": {"port": 0}}
            table["engines"] = {"remote_url": f"{there.url}/v1", "remote_key": there.key, "remote_model": "minilm"}
            with Factory(msgspec.convert(table, Settings)) as near:
                async with Plant(near) as here:
                    assert await asyncio.to_thread(ask, here, "public") == own.data[0].embedding
                    for label in ("internal", ""):  # undeclared text counts as the highest that the key may see
                        with pytest.raises(openai.PermissionDeniedError, match="public text at most"):
                            await asyncio.to_thread(ask, here, label)

    asyncio.run(run())
