"""Money budgets over a real Redis and real workers: 1,000 requests at once, kill -9, and Redis away and back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time

import httpx
import pytest

from redis_server import RedisServer
from system.crowd import ask_at_once
from system.processes import Running
from tokenworks.core.label import Label
from tokenworks.factory import Factory
from tokenworks.governance.grants import Rights
from tokenworks.governance.keys import SHOWN
from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.spending import charged_micro
from tokenworks.store.nouns import Budget

pytestmark = [pytest.mark.xdist_group("shared-money"), pytest.mark.timeout(240)]
PROMPT, TOKENS = "def parse(", 4
INPUT, OUTPUT = 3, 7  # millionths a token
MOST = (len(PROMPT) + 2) * INPUT + TOKENS * OUTPUT


class Served:
    """A server with two workers that count their limits in a Redis of its own."""

    def __init__(self, folder, model):
        self.redis = RedisServer(folder)
        self.home, self.model = folder / "home", model.name
        config = folder / "tokenworks.toml"
        config.write_text(f"""
[limits]
shared = "{self.redis.url}"
[prices]
currency = "EUR"
[prices.models."*"]
input = {INPUT}.0
output = {OUTPUT}.0
""")
        os.environ["TOKENWORKS_CONFIG"] = str(config)
        try:
            self.running = Running(self.home, "serve", "--model", str(model), "--workers", "2")
            with Factory(home=self.home) as factory:
                self.free = factory.new_key("free", tenant="free", clearance=Label.RESTRICTED)
        finally:
            del os.environ["TOKENWORKS_CONFIG"]
        self.until_it_serves(self.free)
        self.cost = self.micro(self.ask(self.free).json())

    @property
    def pids(self):
        return [one["pid"] for one in json.loads((self.home / "workers.json").read_text())["workers"]]

    def ask(self, key, **changes):
        body = {"model": self.model, "prompt": PROMPT, "max_tokens": TOKENS, "ignore_eos": True} | changes
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(f"{self.running.url}/v1/completions", json=body, headers=headers, timeout=60)

    def until_it_serves(self, key):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if self.ask(key).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError("it does not serve")

    def micro(self, body):
        return body["usage"]["prompt_tokens"] * INPUT + body["usage"]["completion_tokens"] * OUTPUT

    def new_key(self, tenant, **bounds):
        """Return a key of a tenant that nobody else uses, with what limits it."""
        with Factory(home=self.home) as factory:
            factory.limits.set(Limit(subject=Subject(tenant), **bounds))
            key = factory.new_key("asks", tenant=tenant, clearance=Label.RESTRICTED)
        time.sleep(1.2)  # in force within a second
        return key

    def entries(self, tenant):
        return [
            (place.writer, entry)
            for place, entry in read(self.home / "ledger")
            if isinstance(entry, RequestEntry) and entry.tenant == tenant
        ]

    def spent(self, tenant):
        return sum(charged_micro(entry) for _, entry in self.entries(tenant))

    def ask_at_once(self, key, count, tokens=TOKENS):
        """Return status and body of so many requests, all under way together; status 0 where the connection broke."""
        body = {"model": self.model, "prompt": PROMPT, "max_tokens": tokens, "ignore_eos": True}
        return asyncio.run(ask_at_once(self.running.url, key, body, count))


@pytest.fixture(scope="module")
def served(make_llama, tmp_path_factory):
    found = Served(tmp_path_factory.mktemp("money"), make_llama(max_position_embeddings=8192))
    yield found
    if found.running.process.poll() is None:
        found.running.kill()
    found.running.process.stdout.close()
    found.redis.kill()


def test_of_1000_requests_through_two_workers_exactly_those_that_money_is_there_for_are_served(served):
    key = served.new_key("crowd", money_per_day_micro=99 * served.cost + MOST)
    answers = served.ask_at_once(key, 1000)
    assert [status for status, _ in answers].count(200) == 100
    assert [body["error"]["code"] for status, body in answers if status != 200] == ["insufficient_quota"] * 900
    assert served.spent("crowd") == 100 * served.cost
    assert len({writer for writer, _ in served.entries("crowd")}) == 2  # both workers were asked


def test_a_grant_is_not_overspent_through_two_workers(served):
    key = served.new_key("granting", money_per_month_micro=10**9)
    budget = Budget(money_micro=19 * served.cost + MOST, requests=1000)
    with Factory(home=served.home) as factory:
        secret, kept = factory.keys.grant(key[:SHOWN], Rights(task="nightly", lasts_s=600.0, budget=budget))
    answers = served.ask_at_once(secret, 200)
    assert [status for status, _ in answers].count(200) == 20
    refused = [body["error"] for status, body in answers if status != 200]
    assert {error["code"] for error in refused} == {"insufficient_quota"}
    assert all(f"EUR in all for grant={kept.prefix}" in error["message"] for error in refused)
    with Factory(home=served.home) as factory:
        (came_to,) = [spent for grant, spent in factory.grant_standings() if grant.prefix == kept.prefix]
    assert (came_to.micro, came_to.requests) == (20 * served.cost, 20)


def test_workers_killed_under_load_overspend_nothing_and_what_they_held_comes_back(served):
    tokens = 60
    cost, most = (one + (tokens - TOKENS) * OUTPUT for one in (served.cost, MOST))
    budget = 199 * cost + most
    key = served.new_key("killed", money_per_day_micro=budget)
    answers, first = [], served.pids

    def load():
        answers.extend(served.ask_at_once(key, 400, tokens))

    loading = threading.Thread(target=load)
    loading.start()
    while len(served.entries("killed")) < 10:
        time.sleep(0.01)
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    loading.join()
    broken = [status for status, _ in answers].count(0)
    assert broken > 0, "they were killed after the last answer"
    served.until_it_serves(served.free)
    spent = served.spent("killed")
    rest, told = [], set()
    while told != {"insufficient_quota"}:  # until then it is told that more may be left when others have ended
        rest += (more := served.ask_at_once(key, 250, tokens))
        told = {body["error"]["code"] for status, body in more if status != 200}
        assert told <= {"insufficient_quota", "rate_limit_exceeded"}
    assert 200 in {status for status, _ in rest} or spent > budget - most  # workers may be faster than their killer
    assert budget - most < served.spent("killed") <= budget
    delivered = sum(status == 200 for status, _ in (*answers, *rest))
    assert delivered <= len([1 for _, entry in served.entries("killed") if entry.price_micro]) <= delivered + broken


def test_what_a_killed_workers_stream_held_is_free_again_but_for_what_it_delivered(served):
    tokens = 7000
    budget = (len(PROMPT) + 2) * INPUT + tokens * OUTPUT
    key = served.new_key("streaming", money_per_day_micro=budget)
    body = {"model": served.model, "prompt": PROMPT, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    url, headers = f"{served.running.url}/v1/completions", {"authorization": f"Bearer {key}"}
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()
        for _ in range(20):
            next(lines)
        for pid in served.pids:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.HTTPError):
            list(lines)
    served.until_it_serves(key)
    (killed,) = [entry for _, entry in served.entries("streaming") if entry.error == "gateway_killed"]
    assert 0 < killed.price_micro < budget
    while (answer := served.ask(key, max_tokens=3000)).status_code == 200:
        pass
    assert answer.json()["error"]["code"] == "insufficient_quota"
    assert budget - (len(PROMPT) + 2) * INPUT - 3000 * OUTPUT < served.spent("streaming") <= budget


def test_without_redis_what_has_a_budget_is_refused_and_its_money_is_remembered(served):
    budget = 39 * served.cost + MOST
    key = served.new_key("patient", money_per_day_micro=budget)
    assert [status for status, _ in served.ask_at_once(key, 25)] == [200] * 25
    served.redis.kill()
    away = served.ask_at_once(key, 20)
    assert {(status, body["error"]["code"]) for status, body in away} == {(503, "limits_unavailable")}
    assert served.ask(served.free).status_code == 200  # nothing limits it
    served.redis.start()  # it remembers nothing
    served.until_it_serves(key)
    answers = served.ask_at_once(key, 100)
    assert [status for status, _ in answers].count(200) == 14
    assert {body["error"]["code"] for status, body in answers if status != 200} == {"insufficient_quota"}
    assert served.spent("patient") == 40 * served.cost
