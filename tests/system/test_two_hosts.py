"""Two hosts, each with a home and a ledger of its own, over one PostgreSQL, one Redis and one artifact folder.

Each host is a network namespace; the client, the database and Redis are outside, so a cut cable takes a host from all.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time

import httpx
import psutil
import pytest
from sqlalchemy import make_url

from redis_server import RedisServer
from system.namespaces import Forward, Host, require_namespaces
from system.processes import Running, tokenworks
from tokenworks.core.label import Label
from tokenworks.factory import Factory
from tokenworks.governance.grants import Rights
from tokenworks.governance.keys import SHOWN
from tokenworks.governance.limits import Limit, Subject
from tokenworks.ledger.spending import day_of
from tokenworks.line.release.keys import ensure_signing_key
from tokenworks.settings import load_settings
from tokenworks.store.nouns import Budget

pytestmark = [pytest.mark.xdist_group("hosts"), pytest.mark.postgres, pytest.mark.timeout(240)]
PROMPT, TOKENS = "def parse(", 4
CLAIM = len(PROMPT) + 2 + TOKENS
INPUT, OUTPUT = 3, 7  # millionths a token
MOST = (len(PROMPT) + 2) * INPUT + TOKENS * OUTPUT
PATIENCE = httpx.Timeout(30, connect=1.0)


class Site:
    """One of the hosts: its network, its home, its server."""

    def __init__(self, number, folder, database, redis):
        self.host = Host(number)
        self.home = folder / f"home-{number}"
        self.config = folder / f"host-{number}.toml"
        url = f"postgresql+psycopg://postgres@{self.host.outside}:{database.port}/postgres?{database.query}"
        self.config.write_text(f"""
[server]
host = "0.0.0.0"
background = {"true" if number == 0 else "false"}
[store]
catalog = "{url}"
artifacts = "{folder / "artifacts"}"
[limits]
shared = "redis://{self.host.outside}:{redis.port}/0"
wait_s = 5.0
[prices.models."*"]
input = {INPUT}.0
output = {OUTPUT}.0
[flywheel]
look_s = 0.0
""")
        self.running = None
        self.url = ""

    def start(self, *words):
        os.environ["TOKENWORKS_CONFIG"] = str(self.config)
        self.running = Running(self.home, "serve", *words, under=self.host.under)
        del os.environ["TOKENWORKS_CONFIG"]
        self.url = f"http://{self.host.inside}:{self.running.url.rpartition(':')[2]}"

    def factory(self):
        return Factory(load_settings(self.config, home=self.home))

    def close(self):
        if self.running is not None and self.running.process.poll() is None:
            self.running.kill()
        if self.running is not None:
            self.running.process.stdout.close()
        self.host.close()


@pytest.fixture(scope="module")
def sites(postgres_server, make_llama, tmp_path_factory):
    """Two running hosts that serve the same release."""
    require_namespaces()
    import psycopg

    folder = tmp_path_factory.mktemp("hosts")
    model = make_llama(max_position_embeddings=8192)
    schema = f"hosts_{os.getpid()}"
    with psycopg.connect(postgres_server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"')
    database = Forward(f"{make_url(postgres_server).query['host']}/.s.PGSQL.5432")
    database.query = f"options=-csearch_path%3D{schema}"
    redis = RedisServer(folder, host="0.0.0.0")
    found = [Site(number, folder, database, redis) for number in (0, 1)]
    ensure_signing_key(found[0].home)  # hosts that serve the same models trust the same key
    shutil.copytree(found[0].home, found[1].home)
    try:
        found[0].start("--model", str(model))
        found[1].start()
        key = new_key(found[0], "crowd")
        for site in found:
            until(lambda site=site: ask(site, key, model.name).status_code == 200)
        yield found, model.name, key
    finally:
        for site in found:
            site.close()
        redis.kill()
        database.close()


def new_key(site, tenant):
    with site.factory() as factory:
        return factory.new_key(tenant, tenant=tenant, clearance=Label.RESTRICTED)


def limit(site, tenant, **bounds):
    with site.factory() as factory:
        factory.limits.set(Limit(subject=Subject(tenant=tenant), **bounds))
    time.sleep(1.2)  # in force within a second everywhere


def spent(site, tenant):
    """Return what the host's own ledger says."""
    with site.factory() as factory:
        return factory.spending().total(day_of(time.time()), tenant=tenant)


def body_of(model, **changes):
    return {"model": model, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True} | changes


def ask(site, key, model, **changes):
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{site.url}/v1/completions", json=body_of(model, **changes), headers=headers, timeout=PATIENCE)


def ask_any(sites, key, model):
    """Ask one host after the other, as a client with two addresses does."""
    for site in sites:
        try:
            answer = ask(site, key, model)
        except httpx.HTTPError:
            continue
        if answer.status_code < 500:
            return site, answer
    raise AssertionError("no host answered")


def until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("it did not come true in time")


async def ask_at_once(sites, key, model, count):
    """Return the answers of so many requests at the same time, half to each host."""
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(limits=limits, timeout=60, headers={"authorization": f"Bearer {key}"}) as client:
        asked = [client.post(f"{sites[n % 2].url}/v1/completions", json=body_of(model)) for n in range(count)]
        return await asyncio.gather(*asked)


def test_both_hosts_serve_the_same_release(sites):
    hosts, model, key = sites
    answers = [ask(site, key, model) for site in hosts]
    assert len({answer.json()["choices"][0]["text"] for answer in answers}) == 1
    assert {answer.headers["x-tokenworks-version"] for answer in answers} == {f"{model}@1"}


def test_a_budget_holds_over_both_hosts(sites):
    hosts, model, _ = sites
    key = new_key(hosts[0], "thrifty")
    cost = ask(hosts[1], key, model).json()["usage"]["total_tokens"]
    limit(hosts[1], "thrifty", tokens_per_day=50 * cost + CLAIM - 1)
    served = [ask(hosts[n % 2], key, model) for n in range(8)]
    answers = asyncio.run(ask_at_once(hosts, key, model, 300))
    served += [answer for answer in answers if answer.status_code == 200]
    assert len(served) == 49  # one was asked before
    assert {answer.json()["error"]["code"] for answer in answers if answer.status_code != 200} == {"insufficient_quota"}
    each = [spent(site, "thrifty") for site in hosts]
    assert sum(each) == 50 * cost == cost + sum(answer.json()["usage"]["total_tokens"] for answer in served)
    assert min(each) > 0


def test_the_money_of_a_grant_holds_over_both_hosts(sites):
    hosts, model, _ = sites
    key = new_key(hosts[0], "granting")
    usage = ask(hosts[1], key, model).json()["usage"]
    cost = usage["prompt_tokens"] * INPUT + usage["completion_tokens"] * OUTPUT
    rights = Rights(task="nightly", lasts_s=600.0, budget=Budget(money_micro=29 * cost + MOST))
    with hosts[0].factory() as factory:
        secret, kept = factory.new_grant(key[:SHOWN], rights)
    served = [ask(site, secret, model) for site in hosts]  # each has its part, whoever is quicker then
    answers = served + asyncio.run(ask_at_once(hosts, secret, model, 200))
    assert [answer.status_code for answer in answers].count(200) == 30
    refused = [answer.json()["error"] for answer in answers if answer.status_code != 200]
    assert {error["code"] for error in refused} == {"insufficient_quota"}
    assert all(f"in all for grant={kept.prefix}" in error["message"] for error in refused)
    came_to = []
    for site in hosts:
        with site.factory() as factory:
            came_to.append(factory.spending().of_grant(kept.prefix).micro)
    assert sum(came_to) == 30 * cost
    assert min(came_to) > 0


def test_a_host_that_is_cut_off_is_gone_round_and_comes_back(sites):
    hosts, model, key = sites
    limit(hosts[0], "crowd", requests_per_minute=100_000)
    hosts[0].host.cut()
    try:
        site, answer = ask_any(hosts, key, model)
        assert (site, answer.status_code) == (hosts[1], 200)
        told = inside(hosts[0], key, model)  # it still answers itself, and fails closed
        assert told["status"] == 503
        assert told["took_s"] < 15
    finally:
        hosts[0].host.join()
    until(lambda: ask(hosts[0], key, model).status_code == 200)
    assert ask_any(hosts, key, model)[0] is hosts[0]


def inside(site, key, model):
    """Ask a host from within itself, through its own loopback."""
    program = f"""
import json, time, httpx
began = time.monotonic()
answer = httpx.post("http://127.0.0.1:{site.url.rpartition(":")[2]}/v1/completions", json={body_of(model)!r},
    headers={{"authorization": "Bearer {key}"}}, timeout=60)
print(json.dumps({{"status": answer.status_code, "took_s": time.monotonic() - began, "body": answer.text}}))
"""
    import subprocess
    import sys

    done = subprocess.run([*site.host.under, sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_killed_host_is_gone_round_and_loses_neither_budget_nor_ledger(sites):
    hosts, model, _ = sites
    key = new_key(hosts[0], "patient")
    cost = ask(hosts[0], key, model).json()["usage"]["total_tokens"]
    budget = 3000 + CLAIM
    limit(hosts[0], "patient", tokens_per_day=budget)
    got, failed, stop = [], [], threading.Event()

    def work():
        while not stop.is_set():
            try:
                answer = ask_any(hosts, key, model)[1]
                (got if answer.status_code == 200 else failed).append(answer.json())
            except AssertionError as error:
                failed.append(str(error))

    asking = [threading.Thread(target=work) for _ in range(4)]
    for thread in asking:
        thread.start()
    time.sleep(0.5)
    hosts[0].running.kill()
    served_before = len(got)
    until(lambda: len(got) > served_before + 20)
    stop.set()
    for thread in asking:
        thread.join()
    assert failed == []
    left = budget - cost * (len(got) + 1)
    until(lambda: remaining(hosts[1], key, model) is not None)
    each = [spent(site, "patient") for site in hosts]
    assert min(each) > 0
    delivered = cost * (len(got) + 1)
    assert delivered <= sum(each) <= budget
    assert left >= 0


def remaining(site, key, model):
    return ask(site, key, model).headers.get("x-tokenworks-budget-remaining-tokens")


def test_each_host_has_a_ledger_that_verifies(sites):
    hosts, _, _ = sites
    hosts[1].running.stop()
    names = set()
    for site in hosts:
        os.environ["TOKENWORKS_CONFIG"] = str(site.config)
        try:
            done = tokenworks(site.home, "--json", "ledger", "verify")
        finally:
            del os.environ["TOKENWORKS_CONFIG"]
        assert done.returncode == 0, done.stdout + done.stderr
        names.add((site.home / "keys" / "ledger.vkey").read_text().split("+")[0])
    assert len(names) == 2

    def left():
        running = [str(one.info["cmdline"]) for one in psutil.process_iter(["cmdline"])]
        return [one for one in running if str(hosts[0].home) in one]

    until(lambda: not left())
