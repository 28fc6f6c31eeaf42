"""The loop closes by itself: real processes, the official client, feedback, a turn, a canary, and harm rolled back."""

import asyncio
import contextlib
import json
import time

import msgspec
import openai
import pytest

from system.processes import ROUTE, Running, tokenworks, write_tasks
from tokenworks.example.stdlib import Example
from tokenworks.factory import Factory
from tokenworks.ledger.entries import RequestEntry
from tokenworks.ledger.reader import read

pytestmark = [pytest.mark.xdist_group("flywheel"), pytest.mark.timeout(900)]
TURN = """
[turn]
when = "250 new corrections"
[turn.canary]
share = 0.5
margin = 0.25
alpha = 0.1
"""


def shown(home, *words):
    done = tokenworks(home, "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Users:
    """Users who ask `route`, and say what would have been right."""

    def __init__(self, running, rows):
        self.where = {"base_url": f"{running.url}/v1", "api_key": running.key}
        self.rows, self.asked, self.failed = rows, 0, []

    async def ask(self, api, number):
        row = self.rows[number % len(self.rows)]
        asked = f"ticket-{number:06d}"
        self.asked += 1
        try:
            answer = await api.post(
                "/classify", body={"model": "route", "input": row.text}, cast_to=object,
                options={"headers": {"x-request-id": asked}},
            )  # fmt: skip
            if not answer["data"][0]["label"]:
                self.failed.append(f"{number}: {answer}")
            body = {"request_id": asked, "correction": row.label}
            await api.post("/feedback", body=body, cast_to=object)
        except openai.APIError as error:
            self.failed.append(f"{number}: {error}")

    async def go_on(self, first, until, seconds):
        """Ask, four at a time, until `until()` is true; return the next number."""
        end, number = time.monotonic() + seconds, first
        async with openai.AsyncOpenAI(**self.where, max_retries=0, timeout=60) as api:
            while time.monotonic() < end:
                await asyncio.gather(*(self.ask(api, number + each) for each in range(4)))
                number += 4
                if number % 40 == 0 and await asyncio.to_thread(until):
                    return number
        raise AssertionError(f"it never happened; {self.asked} asked, {self.failed[:3]}")


def until_answered(running):
    """Ask `route` until it answers."""
    end = time.monotonic() + 240
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.key, max_retries=8) as api:
        while time.monotonic() < end:
            with contextlib.suppress(openai.APIStatusError):
                return api.post("/classify", body={"model": "route", "input": "parse a date"}, cast_to=object)
            time.sleep(0.1)
    raise AssertionError("route never answered")


@pytest.fixture(scope="module")
def turning(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flywheel")
    route, _ = write_tasks(folder, each=6)
    route.write_text(ROUTE.replace("margin = 0.15", "margin = 0.25") + TURN)  # one turn is to be enough
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENWORKS_FLYWHEEL__LOOK_S", "0.5")
        patch.setenv("TOKENWORKS_FLYWHEEL__GIVES_WAY", "false")  # other tests want every idle second there is
        running = Running(folder / "home", "up", "--task", str(route))
        running.folder = folder
        running.until(r"Try it")
        if not any(one["alias"] == "route" for one in shown(running.home, "release", "show")):
            begun = tokenworks(running.home, "release", "promote", "route@1", "--reason", "a beginning is needed")
            assert begun.returncode == 0, begun.stderr
        until_answered(running)  # nobody of the users is to meet an engine that is starting
        yield running
        running.stop()


def test_traffic_and_feedback_become_a_better_model_and_harm_is_rolled_back_without_a_failed_request(turning):
    rows = msgspec.json.Decoder(Example).decode_lines((turning.folder / "traffic.jsonl").read_bytes())
    users = Users(turning, rows)

    def promoted():
        with Factory(home=turning.home) as factory:
            return any(state.outcome == "promoted" for state in factory.turns.of("route"))

    number = asyncio.run(users.go_on(0, promoted, 500))
    won = next(state for state in shown(turning.home, "turn", "list") if state["outcome"] == "promoted")
    assert {"select", "train", "gate", "canary", "release"} <= set(won["seconds"])
    bad = _bad_candidate(turning)
    begun = tokenworks(turning.home, "release", "canary", bad, "--share", "0.5", "--reason", "forced in for the test")
    assert begun.returncode == 0, begun.stderr

    def ended():
        with Factory(home=turning.home) as factory:
            steps = factory.catalog.releases.history("route")
        return any(step.action == "end" and "roll-back" in step.reason for step in steps)

    asyncio.run(users.go_on(number, ended, 300))
    assert users.failed == []
    (route,) = [one for one in shown(turning.home, "release", "show") if one["alias"] == "route"]
    assert f"route@{route['version']}" != bad
    assert not route["canary"] or f"route@{route['canary']}" != bad
    answered = {entry["version"] for entry in _requests(turning.home)}
    assert {"route@1", won["candidate"], bad} <= answered  # the bad one answered some, until it was ended
    assert tokenworks(turning.home, "ledger", "verify").returncode == 0


def _requests(home):
    with Factory(home=home) as factory:
        found = [entry for _, entry in read(factory.ledger_root) if isinstance(entry, RequestEntry)]
    return [{"version": entry.version} for entry in found if entry.tenant == "default" and entry.model == "route"]


def _bad_candidate(running):
    """Make a model from rotated labels; the gate refuses it, and somebody means to know better."""
    folder = running.folder / "bad"
    folder.mkdir()
    rows = msgspec.json.Decoder(Example).decode_lines((running.folder / "route.jsonl").read_bytes())
    names = sorted({row.label for row in rows})
    turned = [msgspec.structs.replace(row, label=names[(names.index(row.label) + 1) % len(names)]) for row in rows]
    (folder / "route.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(turned))
    (folder / "route.toml").write_text(ROUTE + '[turn]\nwhen = "never"\nautonomy = "propose"\n')
    (made,) = shown(running.home, "train", str(folder / "route.toml"))
    return f"route@{made['version']['version']}"
