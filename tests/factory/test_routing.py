"""Routes as an operator writes them, on two running servers: one asks the other, and goes on without it."""

import asyncio

import httpx
import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.factory import Factory
from tokenworks.factory.plant import Plant
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.settings import load_settings

TOML = """
[server]
port = 0

[[engines.remotes]]
name = "there"
url = "{url}/v1"
key_env = "KEY_OF_THERE"
model = "minilm"
label = "public"
region = "eu-central"

[routes.minilm]
order = ["there", "here"]

[routes.afar]
order = ["there"]
"""


def ask(plant, model, label):
    headers = {"authorization": f"Bearer {plant.key}", "x-tokenworks-label": label}
    answer = httpx.post(
        f"{plant.url}/v1/embeddings", json={"model": model, "input": "hello"}, headers=headers, timeout=60
    )
    vector = answer.json()["data"][0]["embedding"] if answer.status_code == 200 else None
    return answer.status_code, answer.headers.get("x-tokenworks-destination"), vector


def test_a_server_elsewhere_is_asked_as_far_as_labels_let_and_missed_by_nobody(factory, tmp_path, monkeypatch):
    async def run():
        async with Plant(factory) as there:
            await there.opened
            monkeypatch.setenv("KEY_OF_THERE", there.key)
            (tmp_path / "near.toml").write_text(TOML.format(url=there.url))
            with Factory(load_settings(tmp_path / "near.toml", environ={}, home=tmp_path / "near")) as near:
                async with Plant(near) as here:
                    await here.opened
                    afar = await asyncio.to_thread(ask, here, "minilm", "public")
                    close = await asyncio.to_thread(ask, here, "minilm", "internal")
                    assert (afar[:2], close[:2]) == ((200, "there"), (200, "here"))
                    assert afar[2] == pytest.approx(close[2], abs=1e-3)
                    assert (await asyncio.to_thread(ask, here, "afar", "public"))[:2] == (200, "there")
                    assert (await asyncio.to_thread(ask, here, "afar", "internal"))[0] == 403
                    await there.__aexit__(None, None, None)
                    assert (await asyncio.to_thread(ask, here, "minilm", "public"))[:2] == (200, "here")
                entries = [one for _, one in read(near.ledger_root) if isinstance(one, RequestEntry) and one.sent]
                sent = [(one.to, one.region) for entry in entries for one in entry.sent if one.ended == "ok"]
                assert sent == [("there", "eu-central"), ("here", "here"), ("there", "eu-central"), ("here", "here")]

    asyncio.run(run())


def test_what_is_misspelt_in_a_route_is_named(tmp_path):
    file = tmp_path / "tokenworks.toml"
    for text, why in [
        ("[routes.x]\nordre = ['here']", "ordre"),
        ("[[engines.remotes]]\nname = 'a'\nurl = 'http://a'\nlable = 'public'", "lable"),
        ("[routes.x]\nwhen = 'always'", "always"),
    ]:
        file.write_text(text)
        with pytest.raises(ConfigError, match=why):
            load_settings(file, environ={})
