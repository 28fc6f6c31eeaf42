"""What an engine has read for one tenant or label is not found again for another: each call carries its own salt."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from tokenworks.core.label import Label
from tokenworks.governance.keys import SCOPES
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.serving.engine import Options
from tokenworks.serving.member import told_to_ours
from tokenworks.serving.pool import Pool
from tokenworks.settings import Settings

from .conftest import Routed

if TYPE_CHECKING:
    from ..conftest import House

PROMPT = "the quick brown fox jumps over the lazy dog " * 20
CHAT = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 2}
FORMS: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": PROMPT, "max_tokens": 2},
    "/v1/chat/completions": CHAT,
    "/v1/messages": CHAT,
}


class Overheard(Pool):
    """The engines, and what they were told."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.bodies: list[dict[str, Any]] = []

    async def generate(self, call: EngineCall) -> EngineAnswer:
        self.bodies.append(msgspec.json.decode(told_to_ours(call)))
        return await super().generate(call)


@pytest.fixture(scope="module")
def gate(house: House, tiny_llama: Path) -> Iterator[Routed]:
    async def pool() -> Pool:
        options = Options(threads=1, precision="f32", cache=str(house.home / "prefixes"))
        return Overheard(open_model=lambda ref: tiny_llama, options=options)

    made = Routed(house, msgspec.convert({}, Settings), house.run(pool()))
    house.run(made.pool.ready("complete@1"))
    yield made
    made.close()
    house.run(made.pool.close())


@pytest.fixture(scope="module")
def clients(house: House, gate: Routed) -> Iterator[dict[str, httpx.Client]]:
    made = {}
    for tenant in ("acme", "rival"):
        secret, _ = house.keys.create(tenant, scopes=SCOPES, clearance=Label.RESTRICTED)
        headers = {"authorization": f"Bearer {secret}"}
        made[tenant] = httpx.Client(base_url=gate.http.base_url, headers=headers, timeout=60)
    yield made
    for client in made.values():
        client.close()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", FORMS)
def test_the_same_prompt_of_another_tenant_or_label_is_another_to_the_engine(
    gate: Routed, clients: dict[str, httpx.Client], path: str, stream: bool
) -> None:
    def salt(tenant: str, label: str) -> str:
        body = {**FORMS[path], "model": "complete", "stream": stream}
        answer = clients[tenant].post(path, json=body, headers={"x-tokenworks-label": label})
        assert answer.status_code == 200, answer.text
        assert '"cached_tokens":0' in answer.text or '"cached_tokens"' not in answer.text
        return str(gate.pool.bodies[-1]["cache_salt"])  # type: ignore[attr-defined]

    who = list(itertools.product(clients, ("public", "internal")))
    salts = [salt(*one) for one in who]
    assert len(set(salts)) == 4
    assert [salt(*one) for one in who] == salts
    assert all(len(one) == 32 for one in salts)


@pytest.mark.parametrize("path", FORMS)
def test_nobody_chooses_a_salt_of_their_own(clients: dict[str, httpx.Client], path: str) -> None:
    body = {**FORMS[path], "model": "complete", "cache_salt": "0" * 32}
    assert clients["rival"].post(path, json=body).status_code == 400


def test_what_ours_are_told_ends_as_the_object_it_is() -> None:
    told: Callable[..., bytes] = lambda body, **more: told_to_ours(EngineCall(ref="m@1", path="/", body=body, **more))  # noqa: E731
    assert told(b'{"a":1}') == b'{"a":1}'
    assert told(b'{"a":1} \n', cache_salt="ab") == b'{"a":1,"cache_salt":"ab"}'
    both = told(b'{"a":1}', cache_salt="ab", resume=b'{"seed":3}')
    assert msgspec.json.decode(both) == {"a": 1, "cache_salt": "ab", "resume": {"seed": 3}}
