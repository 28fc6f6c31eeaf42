"""The short form of the stack does what the list does: the same answers, entries and counters, whatever happens."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.conftest import House
from tokenworks.core.label import Label
from tokenworks.gateway.http.incoming import Incoming
from tokenworks.gateway.plain import plain
from tokenworks.gateway.server import Server, serve
from tokenworks.governance.grants import Rights
from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.spending import Spent, load_spending
from tokenworks.serving.engine import Options
from tokenworks.settings import ServerSettings
from tokenworks.store.nouns import Budget

OF_THE_MOMENT = {
    "date", "x-request-id", "link", "x-tokenworks-budget-reset", "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens", "x-ratelimit-remaining-requests", "x-ratelimit-remaining-tokens",
    "x-tokenworks-destination",  # told where an engine was asked again, which depends on the connection at hand
}  # fmt: skip
ANSWER = {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
          "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
          "usage": {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
                    "prompt_tokens_details": {"cached_tokens": 4}}}  # fmt: skip
FRESH_S = 60.0  # a busy machine takes longer for a request than the houses of other tests remember anything
WELL = {"messages": [{"role": "user", "content": "well"}]}
HOW = ("well", "no usage", "nonsense", "refuses", "fails", "half", "hangs up once", "hangs up", "large")
EVENTS = 5  # with text, of a stream


class Engine(BaseHTTPRequestHandler):
    """Answers as the last message says."""

    protocol_version = "HTTP/1.1"
    asked = 0
    bodies: ClassVar[list[dict[str, Any]]] = []
    once: ClassVar[set[str]] = set()

    def do_POST(self) -> None:
        Engine.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        how = body["messages"][-1]["content"]
        Engine.bodies.append(body)
        time.sleep({"slow": 1.0, "late": 2.5}.get(how, 0.0))
        id = self.headers["x-request-id"]
        if how == "hangs up" or (how == "hangs up once" and id not in Engine.once):
            Engine.once.add(id)
            self.close_connection = True
            return
        status = {"refuses": 400, "fails": 500}.get(how, 200)
        if body.get("stream") and status == 200:
            self.stream(how)
            return
        answer: dict[str, Any] = {"error": {"message": how, "code": "x"}} if status != 200 else copy.deepcopy(ANSWER)
        if how == "no usage":
            del answer["usage"]
        if how == "large":
            answer["choices"][0]["message"]["content"] = "x" * 300_000
        data = b"no json" if how == "nonsense" else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[:40] if how == "half" else data)
        self.close_connection = how == "half"

    def stream(self, how: str) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        events = [delta("y" * 90_000 if how == "large" else f" t{number}") for number in range(EVENTS)]
        if how != "no usage":
            used = {"prompt_tokens": 9, "completion_tokens": EVENTS, "total_tokens": 9 + EVENTS}
            events.append({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": used})
        said = [b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n" for event in events]
        said.append(b"data: [DONE]\n\n")
        if how == "nonsense":
            said[2] = b'data: {"error":{"message":"out of memory"}}\n\n'
        for number, event in enumerate(said):
            if how == "half" and number == 3:
                self.close_connection = True
                return
            time.sleep(0.3 if how == "slow" else 0.002 * (number % 2))
            half = len(event) // 2  # arrives in pieces that are no events
            for part in (event[:half], event[half:]):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def delta(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


class Both:
    """One gateway on two sockets: on one every request goes through the list."""

    def __init__(self, house: House, address: str) -> None:
        self.house = house
        self.short_form = house.gateway.app.at_once
        self.taken = 0  # requests answered in the short form
        house.gateway.app.at_once = self._counted
        self.short, self.listed = house.run(self._start(address))
        self._fresh = (house.limits._known, house.releases._current, house.keys._seen)
        self.remember(FRESH_S)
        self.tenants = {self.short.address: "plain-a", self.listed.address: "plain-b"}
        self.clients: dict[str, httpx.Client] = {}
        for address, tenant in self.tenants.items():
            house.limits.set(
                Limit(
                    subject=Subject(tenant), requests_per_minute=60_000_000, tokens_per_minute=60_000_000,
                    concurrency=50, tokens_per_day=100_000_000,
                )
            )  # fmt: skip
            secret, _ = house.keys.create(tenant, clearance=Label.CONFIDENTIAL)
            self.clients[address] = httpx.Client(base_url=address, headers={"authorization": f"Bearer {secret}"})
        for server in (self.short, self.listed):
            self.ask(server, WELL)  # keys and limits are read, a connection is made

    def remember(self, fresh_s: float) -> None:
        """Let keys, limits and releases be read anew so often."""
        for one in self._fresh:
            one._fresh_s = fresh_s

    async def _start(self, address: str) -> tuple[Server, Server]:
        await self.house.pool.add_remote("plain@1", Options(url=address))
        app = self.house.gateway.app

        async def listed(incoming: Incoming) -> None:
            await app(incoming)

        return await serve(app, "127.0.0.1", 0, drain_s=1), await serve(listed, "127.0.0.1", 0, drain_s=1)

    def _counted(self, incoming: Incoming) -> bool:
        taken = self.short_form(incoming)
        self.taken += taken
        return taken

    def ask(
        self, server: Server, fields: dict[str, Any], headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        content = json.dumps({"model": "plain", **fields}).encode()
        client = self.clients[server.address]
        return client.post("/v1/chat/completions", content=content, headers=headers, **options)

    def entry(self, answer: httpx.Response) -> dict[str, Any]:
        """Return what stands on the ledger of an answer, less what is never twice the same."""
        entry = self.house.entry(answer.headers["x-request-id"])
        private = {"at", "request_id", "salt", "prompt_digest", "answer_digest", "latency_s", "ttft_s",
                   "tenant", "key_id", "user", "conversation", "transfers", "sent"}  # fmt: skip
        facts = {name: value for name, value in msgspec.structs.asdict(entry).items() if name not in private}
        about = (bool(entry.user), bool(entry.conversation), bool(entry.prompt_digest), bool(entry.answer_digest))
        return {**facts, "about": about, "sent": bool(entry.transfers)}  # sizes differ with what is private

    def close(self) -> None:
        self.house.gateway.app.at_once = self.short_form
        for client in self.clients.values():
            client.close()
        for server in (self.short, self.listed):
            self.house.run(server.stop())
        self.house.run(self.house.pool.remove("plain@1"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    house = House(tmp_path_factory.mktemp("plain"), {}, ServerSettings())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    house.release("plain", kind="chat", label="internal")
    made = Both(house, f"http://127.0.0.1:{server.server_port}")
    yield made
    made.close()
    house.close()
    server.shutdown()
    server.server_close()


def shown(answer: httpx.Response) -> tuple[Any, ...]:
    headers = {name: value for name, value in answer.headers.items() if name not in OF_THE_MOMENT}
    body = answer.content.replace(answer.headers["x-request-id"].encode(), b"")
    named = sorted(name for name in answer.headers if name != "x-tokenworks-destination")
    return answer.status_code, headers, named, body if headers["content-type"] != "application/json" else len(body)


fields = st.fixed_dictionaries(
    {"messages": st.sampled_from(HOW).map(lambda how: [{"role": "user", "content": how}])},
    optional={
        "max_tokens": st.integers(0, 50), "user": st.sampled_from(["ann", ""]), "store": st.booleans(),
        "n": st.integers(1, 3), "temperature": st.floats(0, 3), "service_tier": st.sampled_from(["flex", "auto"]),
        "metadata": st.just({"conversation": "c-1"}), "unknown": st.just(1), "stream": st.booleans(),
        "stream_options": st.sampled_from([{"include_usage": True}, {}]),
    },
)  # fmt: skip
rare = st.dictionaries(
    st.sampled_from(["x-tokenworks-label", "x-tokenworks-priority"]),
    st.sampled_from(["internal", "confidential", "restricted", "batch"]),
    max_size=1,
)
patient = st.dictionaries(
    st.sampled_from(["x-stainless-read-timeout", "x-stainless-timeout"]),
    st.sampled_from(["600", "30.5", "NOT_GIVEN", "-1", "inf"]),
    max_size=2,
)
sent = st.one_of(rare, patient)


@settings(max_examples=60, deadline=None)
@given(fields=fields, headers=sent)
def test_both_forms_answer_and_record_the_same(both: Both, fields: dict[str, Any], headers: dict[str, str]) -> None:
    short, listed = both.ask(both.short, fields, headers), both.ask(both.listed, fields, headers)
    assert shown(short) == shown(listed)
    assert both.entry(short) == both.entry(listed)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"max_tokens": 7, "user": "ann"},
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
    ],
    ids=["bare", "more", "stream", "with usage"],
)
def test_whatever_the_engine_does_both_forms_make_the_same_of_it(both: Both, how: str, more: dict[str, Any]) -> None:
    for server in (both.listed, both.short):
        both.ask(server, WELL)  # makes a connection where there is none
    before, body = both.taken, {"messages": [{"role": "user", "content": how}], **more}
    short = both.ask(both.short, body)
    assert both.taken == before + 1
    seen = Engine.bodies[-1]
    listed = both.ask(both.listed, body)
    assert Engine.bodies[-1] == seen
    assert shown(short) == shown(listed)
    assert both.entry(short) == both.entry(listed)


def test_what_either_form_reserved_is_given_back(both: Both) -> None:
    for how in HOW:
        for server in (both.short, both.listed):
            for stream in (False, True):
                both.ask(server, {"messages": [{"role": "user", "content": how}], "stream": stream})
    counters = both.house.gateway.limit._counters
    both.house.wait_until(lambda: not [name for name in counters.held if "plain-" in name])
    assert both.house.gateway.admit.in_flight == 0
    rebuilt = load_spending(both.house.home / "ledger", both.house.home / "again.json")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    spent = [rebuilt.total(day, tenant) for tenant in both.tenants.values()]
    assert [both.house.gateway.limit._spending.total(day, tenant) for tenant in both.tenants.values()] == spent


def test_a_caller_who_hangs_up_stops_the_engine_and_is_recorded_once(both: Both) -> None:
    entries = len(cancelled(both))
    before = both.taken
    both.ask(both.short, WELL)
    with pytest.raises(httpx.ReadTimeout):
        both.ask(both.short, {"messages": [{"role": "user", "content": "slow"}]}, timeout=0.2)
    assert both.taken > before
    both.house.wait_until(lambda: len(cancelled(both)) > entries)
    assert {(entry.status, entry.completion_tokens) for entry in cancelled(both)[entries:]} == {(499, 0)}
    assert both.house.gateway.admit.in_flight == 0


@pytest.mark.parametrize("events", [0, 1, 2])
def test_who_hangs_up_on_a_stream_is_charged_for_what_was_passed_on(both: Both, events: int) -> None:
    """Never for more than the engine had said by then, nor for less than the caller has read."""
    both.ask(both.short, WELL)
    before = len(cancelled(both))
    client, taken = both.clients[both.short.address], both.taken
    body = {"model": "plain", "messages": [{"role": "user", "content": "slow"}], "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        lines = answer.iter_lines()
        for _ in range(events):
            assert next(line for line in lines if line.startswith("data: "))
    assert both.taken == taken + 1
    both.house.wait_until(lambda: len(cancelled(both)) > before)
    [entry] = cancelled(both)[before:]
    assert (entry.status, entry.outcome) == (499, "cancelled")
    assert events <= entry.completion_tokens < EVENTS
    both.house.wait_until(lambda: both.house.gateway.admit.in_flight == 0)


@pytest.mark.parametrize(("how", "stream"), [("slow", True), ("fails", False)])
def test_who_hangs_up_in_the_moment_of_handing_over_leaves_one_entry_and_nothing_held(
    both: Both, monkeypatch: pytest.MonkeyPatch, how: str, stream: bool
) -> None:
    both.ask(both.short, WELL)
    before = both.house.entries()

    def stopped(work: Callable[..., Any], run: Any, *given: Any) -> Any:
        asyncio.get_running_loop().call_soon(run.stop)  # before the task's first step
        return work(run, *given)

    with monkeypatch.context() as patch:
        for work in (plain.follow, plain.go_on):
            patch.setattr(plain, work.__name__, partial(stopped, work))
        answer = both.ask(both.short, {"messages": [{"role": "user", "content": how}], "stream": stream})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
    both.house.wait_until(lambda: len(both.house.entries()) > len(before))
    [entry] = both.house.entries()[len(before) :]
    assert (entry.outcome, entry.completion_tokens) == ("cancelled" if stream else "failed", 0)
    both.house.wait_until(lambda: both.house.gateway.admit.in_flight == 0)
    held = both.house.gateway.limit._counters.held
    both.house.wait_until(lambda: not [name for name in held if "plain-" in name])


def test_a_stream_ends_at_its_deadline(both: Both) -> None:
    body = {"messages": [{"role": "user", "content": "slow"}], "stream": True}
    answer = both.ask(both.short, body, {"x-tokenworks-deadline-ms": "1200"})
    last = answer.text.strip().split("\n\n")[-1]
    assert (answer.status_code, json.loads(last[6:])["error"]["code"]) == (200, "deadline_exceeded")
    entry = both.house.entry(answer.headers["x-request-id"])
    assert (entry.outcome, entry.status) == ("failed", 504)
    assert answer.text.count('"delta"') == entry.completion_tokens < EVENTS


def cancelled(both: Both) -> list[RequestEntry]:
    return [
        entry
        for entry in both.house.entries()
        if isinstance(entry, RequestEntry) and entry.tenant == "plain-a" and entry.outcome == "cancelled"
    ]


def test_a_key_that_was_revoked_opens_nothing_at_the_next_request(both: Both) -> None:
    secret, key = both.house.keys.create("plain-a")
    headers = {"authorization": f"Bearer {secret}"}
    assert [both.ask(both.short, WELL, headers).status_code for _ in range(3)] == [200] * 3
    both.house.keys.revoke(key.prefix)
    assert both.ask(both.short, WELL, headers).status_code == 401


def test_a_limit_that_was_set_is_in_force_in_a_moment(both: Both) -> None:
    secret, _ = both.house.keys.create("plain-c")
    headers = {"authorization": f"Bearer {secret}"}
    assert both.ask(both.short, WELL, headers).status_code == 200
    both.remember(0.05)
    both.house.limits.set(Limit(subject=Subject("plain-c"), tokens_per_day=0))
    time.sleep(0.1)
    asked = Engine.asked
    refused = both.ask(both.short, WELL, headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert Engine.asked == asked
    both.remember(FRESH_S)


def test_both_forms_hold_a_grant_to_its_budget_and_tell_the_same(both: Both) -> None:
    budget = Budget(
        tokens=200_000, money_micro=900_000_000, requests=4, requests_per_minute=9_000_000, tokens_per_minute=9_000_000
    )
    told: dict[str, list[Any]] = {}
    for server, tenant in ((both.short, "plain-a"), (both.listed, "plain-b")):
        _, key = both.house.keys.create(tenant)
        rights = Rights(task="nightly", lasts_s=3600.0, budget=budget)
        secret, kept = both.house.keys.grant(key.prefix, rights)
        before, asked = both.taken, Engine.asked
        headers = {"authorization": f"Bearer {secret}"}
        answers = [both.ask(server, {**WELL, "max_tokens": 5}, headers) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
        assert Engine.asked == asked + 4
        assert both.taken - before == (3 if server is both.short else 0)  # the first is asked who it is
        assert f"4 requests in all for grant={kept.prefix} has 0 left" in answers[4].json()["error"]["message"]
        found = both.house.gateway.limit._spending.of_grant(kept.prefix)
        assert found == Spent(4 * 12, 0, 4)
        assert not [name for name in both.house.gateway.limit._counters.held if kept.prefix in name]
        told[tenant] = [shown(answer)[:3] for answer in answers[:4]]
    assert told["plain-a"] == told["plain-b"]


@pytest.mark.parametrize("place", ["tokenworks.gateway.plain.plain.take_whole", "tokenworks.gateway.plain.plain.parse"])
def test_a_fault_of_our_own_in_the_short_form_is_answered_and_recorded(
    both: Both, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def broken(*given: object) -> None:
        raise ZeroDivisionError("a bug")

    both.ask(both.short, WELL)
    with monkeypatch.context() as patch:
        patch.setattr(place, broken)
        answer = both.ask(both.short, WELL)
    entry = both.house.entry(answer.headers["x-request-id"])
    expected = (
        (500, "failed") if place.endswith("take_whole") else (200, "ok")
    )  # before anything was sent, the list asks
    assert (answer.status_code, entry.outcome) == expected
    assert both.house.gateway.admit.in_flight == 0
    assert both.ask(both.short, WELL).status_code == 200


def test_an_answer_later_than_the_callers_client_listens_is_cut_off_in_both_forms(both: Both) -> None:
    both.ask(both.short, WELL)
    body, before = {"messages": [{"role": "user", "content": "late"}]}, both.taken
    patience = {"x-stainless-read-timeout": "0.1"}
    short = both.ask(both.short, body, patience)
    assert both.taken == before + 1
    listed = both.ask(both.listed, body, patience)
    assert [answer.status_code for answer in (short, listed)] == [504, 504]
    assert short.json()["error"]["code"] == listed.json()["error"]["code"] == "deadline_exceeded"
    assert both.entry(short) == both.entry(listed)


def test_official_clients_are_answered_in_the_short_form(both: Both) -> None:
    both.ask(both.short, WELL)  # makes a connection where there is none
    client, before = both.clients[both.short.address], both.taken
    with openai.OpenAI(base_url=f"{both.short.address}/v1", api_key=client.headers["authorization"][7:]) as official:
        answer = official.chat.completions.create(model="plain", messages=[{"role": "user", "content": "well"}])
    assert answer.choices[0].message.content == "hello"
    assert both.taken == before + 1
