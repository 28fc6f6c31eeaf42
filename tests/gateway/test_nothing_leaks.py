"""No sequence of requests sends content where its label, or a policy, does not let it go.

A real gateway with real HTTP servers as destinations, which keep every byte that they are sent. Each text carries a
token of its own, so that a token in a body that must not hold it is a leak, whoever sent it and however.
"""

from __future__ import annotations

import io
import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tokenworks.core.label import Label
from tokenworks.gateway.app import build
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.served import OnTrial, Served
from tokenworks.gateway.server import serve
from tokenworks.governance.keys import SCOPES
from tokenworks.governance.policy.engine import Policies
from tokenworks.governance.policy.folder import InForce
from tokenworks.serving.engine import Options
from tokenworks.serving.pool import Pool
from tokenworks.store.artifacts import open_artifacts

if TYPE_CHECKING:
    from .conftest import House

POLICY = """
@id("stays-in-the-eu") forbid(principal in Tenant::"european", action == Action::"send", resource)
when { context.destination.leaves_site && context.destination.region != "eu" };
"""
FLOORS = '[tenants]\ncareful = "confidential"\n'
CHUNK = {
    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}],
}  # fmt: skip
SSE = b"data: " + json.dumps(CHUNK).encode() + b"\n\n"
ANSWER = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "noted"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
labels = st.sampled_from([None, *Label])


class Destination(ThreadingHTTPServer):
    """A server that keeps what it is sent, and answers well, wrongly, half, or not at all."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Listener)
        self.bodies: list[bytes] = []
        self.mood = "answers"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Listener(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Destination

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(body)
        mood, streamed = self.server.mood, json.loads(body).get("stream")
        self.close_connection = mood != "answers" or bool(streamed)
        if mood == "hangs up":
            return
        if mood == "fails":
            self._say(500, b'{"error": {"message": "no"}}', "application/json")
        elif not streamed:
            self._say(200, json.dumps(ANSWER).encode(), "application/json")
        elif mood == "breaks off":
            self._say(200, SSE, "text/event-stream", missing=100)
        else:
            self._say(200, SSE + b"data: [DONE]\n\n", "text/event-stream")

    def _say(self, status: int, body: bytes, kind: str, missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def served(ref: str, accepts: str, region: str, label: str = "public", trial: OnTrial | None = None) -> Served:
    return Served(ref=ref, label=label, kind="chat", accepts=accepts, region=region, trial=trial)


PLACES = {  # what each may see, and where it stands
    "home@1": (Label.RESTRICTED, "here"),
    "home@2": (Label.RESTRICTED, "here"),
    "eu@1": (Label.INTERNAL, "eu"),
    "eu@2": (Label.INTERNAL, "us"),
    "us@1": (Label.PUBLIC, "us"),
}


def aliases() -> dict[str, Served]:
    def at(ref: str, label: str = "public", trial: OnTrial | None = None) -> Served:
        return served(ref, str(PLACES[ref][0]), PLACES[ref][1], label, trial)

    canary = OnTrial(id="c", candidate=at("eu@2"), share=0.5, mode="canary")
    shadow = OnTrial(id="s", candidate=at("eu@2"), share=1.0, mode="shadow")
    higher = OnTrial(id="h", candidate=at("home@2", "public"), share=1.0, mode="canary")
    return {
        "home": at("home@1"),
        "eu": at("eu@1"),
        "us": at("us@1"),
        "canaried": at("eu@1", trial=canary),
        "shadowed": at("eu@1", trial=shadow),
        "relieved": at("home@1", "confidential", trial=higher),
    }


class Fixed:
    """Releases that do not change."""

    def __init__(self) -> None:
        self._aliases = aliases()

    async def current(self, alias: str) -> Served | None:
        return self._aliases.get(alias)

    async def version(self, ref: str) -> Served | None:
        return next((one for one in self._aliases.values() if one.ref == ref), None)

    async def all(self) -> dict[str, Served]:
        return self._aliases


class World:
    """A gateway of the house with servers elsewhere, its keys, and what the destinations have seen."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.places = {ref: Destination() for ref in PLACES}
        self.keys = {}
        tenants, clearances = ("plain", "european", "careful"), (Label.INTERNAL, Label.RESTRICTED)
        for tenant, clearance in itertools.product(tenants, clearances):
            secret, _ = house.keys.create(tenant, scopes=frozenset(SCOPES), clearance=clearance)
            self.keys[tenant, clearance] = secret
        self.numbers = itertools.count()
        self.tokens: dict[bytes, tuple[str, Label | None, Label]] = {}  # tenant, declared, clearance
        self.arrived: set[str] = set()
        self.leaks: list[str] = []  # kept: what a shadow leaks shows late
        self.server = house.run(self._begin())
        self.http = httpx.Client(base_url=f"{self.server.address}/v1", timeout=30)

    async def _begin(self) -> Any:
        house = self.house
        self.pool = Pool()
        for ref, place in self.places.items():
            await self.pool.add_remote(ref, Options(url=place.url))
        in_force = InForce()
        in_force.policies = Policies({"mine.cedar": POLICY, "labels.toml": FLOORS})
        objects, artifacts = house.catalog.objects, open_artifacts(str(house.home / "l"), cache=house.home / "lc")
        platform = Parts(objects, artifacts, house.home / "leaks" / "uploads")
        parts = replace(house.parts(), releases=Fixed(), pool=self.pool, policies=in_force, platform=platform)
        self.gateway = build(parts)
        return await serve(self.gateway.app, "127.0.0.1", 0, drain_s=5)

    def close(self) -> None:
        self.http.close()
        self.house.run(self.gateway.mirror.close())
        assert self.gateway.platform is not None
        self.house.run(self.gateway.platform.close())
        self.house.run(self.server.stop())
        self.house.run(self.pool.close())
        for place in self.places.values():
            place.shutdown()
            place.server_close()

    def token(self, who: tuple[str, Label], declared: Label | None) -> str:
        token = f"canary-{next(self.numbers):08d}-end"
        self.tokens[token.encode()] = (who[0], declared, who[1])
        return token

    def may_see(self, ref: str, token: bytes) -> bool:
        """Return whether text of `token` may stand at `ref`: the rule itself, told anew."""
        tenant, declared, clearance = self.tokens[token]
        accepts, region = PLACES[ref]
        if tenant == "european" and region not in ("here", "eu"):
            return False
        undeclared = Label.PUBLIC if ref.startswith("home") else clearance
        counted = undeclared if declared is None else declared
        return max(counted, Label.CONFIDENTIAL if tenant == "careful" else Label.PUBLIC) <= accepts

    def reach_all(self) -> None:
        """Send public text everywhere: what cannot be reached cannot be leaked to."""
        who = ("plain", Label.INTERNAL)
        for user, model in itertools.product("abcdefghijkl", sorted(aliases())):
            content = self.token(who, Label.PUBLIC)
            body = {"model": model, "user": user, "messages": [{"role": "user", "content": content}]}
            self.http.post("/chat/completions", json=body, headers=headers(self.keys[who], Label.PUBLIC))

    def look(self) -> None:
        for ref, place in self.places.items():
            while place.bodies:
                body = place.bodies.pop()
                for part in body.split(b"canary-")[1:]:
                    token = b"canary-" + part[:12]
                    self.arrived.add(ref)
                    if not self.may_see(ref, token):
                        self.leaks.append(f"{token!r} of {self.tokens[token]} leaked to {ref}")


def headers(secret: str, declared: Label | None) -> dict[str, str]:
    label = {} if declared is None else {"x-tokenworks-label": str(declared)}
    return {"authorization": f"Bearer {secret}", **label}


def machine(world: World) -> type[RuleBasedStateMachine]:
    """Return the machine over `world`, which lives longer than one run of it."""
    moods = st.sampled_from(["answers", "answers", "answers", "fails", "hangs up", "breaks off"])
    callers = st.sampled_from(sorted(world.keys))
    plain = callers.filter(lambda who: who[0] == "plain")
    near_and_far, low = st.sampled_from(["home", "us"]), st.sampled_from([None, Label.PUBLIC, Label.INTERNAL])
    models = st.sampled_from(sorted(aliases()))

    class Requests(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            for place in world.places.values():
                place.mood = "answers"

        @rule(ref=st.sampled_from(sorted(PLACES)), mood=moods)
        def change_the_mood(self, ref: str, mood: str) -> None:
            world.places[ref].mood = mood

        @rule(asked=st.lists(st.tuples(callers, models, labels, st.booleans()), min_size=3, max_size=6))
        def chat(self, asked: list[tuple[tuple[str, Label], str, Label | None, bool]]) -> None:
            for who, model, declared, stream in asked:
                token = world.token(who, declared)
                messages = [{"role": "user", "content": token}]
                body = {"model": model, "messages": messages, "stream": stream, "user": token[-5:]}
                for _ in range(2):  # as a client does that tries again
                    answer = world.http.post("/chat/completions", json=body, headers=headers(world.keys[who], declared))
                    if answer.status_code == 200:
                        break
                calm = all(place.mood == "answers" for place in world.places.values())
                if calm and model in ("eu", "us") and (declared or Label.PUBLIC) <= who[1]:
                    ref = aliases()[model].ref
                    assert (answer.status_code == 200) == world.may_see(ref, token.encode()), answer.text

        @rule(who=callers, model=models, declared=labels)
        def ask_in_other_words(self, who: tuple[str, Label], model: str, declared: Label | None) -> None:
            content = world.token(who, declared)
            body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": content}]}
            world.http.post("/messages", json=body, headers=headers(world.keys[who], declared))

        @rule(who=plain, turns=st.lists(st.tuples(near_and_far, low), min_size=3, max_size=6))
        def converse(self, who: tuple[str, Label], turns: list[tuple[str, Label | None]]) -> None:
            previous = None
            for model, declared in turns:
                body = {"model": model, "input": world.token(who, declared), "previous_response_id": previous}
                answer = world.http.post("/responses", json=body, headers=headers(world.keys[who], declared))
                if answer.status_code == 200:
                    previous = answer.json()["id"]

        @rule(who=callers, model=models, declared=labels)
        def send_a_batch(self, who: tuple[str, Label], model: str, declared: Label | None) -> None:
            lines = [
                {
                    "custom_id": str(number), "method": "POST", "url": "/v1/chat/completions",
                    "body": {"model": model, "messages": [{"role": "user", "content": world.token(who, declared)}]},
                }
                for number in range(2)
            ]  # fmt: skip
            data = "\n".join(map(json.dumps, lines)).encode()
            of, form = headers(world.keys[who], declared), {"purpose": "batch"}
            file = world.http.post("/files", data=form, files={"file": ("b", io.BytesIO(data))}, headers=of)
            if file.status_code != 200:
                return
            wanted = {"input_file_id": file.json()["id"], "endpoint": lines[0]["url"], "completion_window": "24h"}
            batch = world.http.post("/batches", json=wanted, headers=headers(world.keys[who], None)).json()
            deadline = time.monotonic() + 0.25  # a batch that tries on ends with the world
            while batch.get("status") not in ("completed", "failed") and time.monotonic() < deadline:
                time.sleep(0.02)
                batch = world.http.get(f"/batches/{batch['id']}", headers=headers(world.keys[who], None)).json()

        @invariant()
        def nothing_leaked(self) -> None:
            world.look()
            assert not world.leaks

    return Requests


@pytest.fixture
def world(house: House) -> Iterator[World]:
    made = World(house)
    yield made
    made.close()


def test_no_sequence_of_requests_sends_content_where_it_may_not_go(world: World) -> None:
    bounded = settings(
        max_examples=5, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    world.reach_all()
    run_state_machine_as_test(machine(world), settings=bounded)
    time.sleep(0.2)  # shadows come late
    world.look()
    assert not world.leaks
    assert world.arrived == set(PLACES)  # the test could have failed
