"""What the sovereignty report says left the site is what crossed the wire, counted there packet by packet."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import openai
import pytest

from system.processes import Running, tokenworks, until_ready
from system.wire import FAR, HERE, Count, Far, why_not

pytestmark = pytest.mark.xdist_group("sovereignty")
PUBLIC = {"x-tokenworks-label": "public"}


@pytest.fixture(scope="module")
def far():
    """A server in another namespace, and the way to it."""
    if reason := why_not():
        pytest.skip(reason)
    with Far() as there:
        server = there.start(sys.executable, str(Path(__file__).with_name("far_server.py")), FAR)
        there.port = int(server.stdout.readline())
        try:
            yield there
        finally:
            server.kill()
            server.communicate()


@pytest.fixture
def counted(far):
    """What crosses the wire from here on."""
    count = Count(far.device)
    yield count
    count.close()


@pytest.fixture(scope="module")
def running(far, make_llama, tmp_path_factory):
    """A served model of this machine, and the far server as `remote`."""
    folder = make_llama()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENWORKS_ENGINES__REMOTE_URL", f"http://{FAR}:{far.port}/v1")
        patch.setenv("TOKENWORKS_ENGINES__REMOTE_REGION", "eu-far")
        served = Running(tmp_path_factory.mktemp("site") / "home", "serve", "--model", str(folder))
        served.until(folder.name)
        until_ready(served.url, f"{folder.name}@1")
        served.model = folder.name
        yield served
        served.kill()
        served.process.stdout.close()


def ask(running, model, text, label=PUBLIC, *, stream=False):
    """Ask once; return the answer's text, or the error."""
    client = openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.key, max_retries=0)
    messages = [{"role": "user", "content": text}]
    try:
        answer = client.chat.completions.create(
            model=model, messages=messages, max_tokens=8, stream=stream, extra_headers=label
        )
        if stream:
            return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
        return answer.choices[0].message.content
    except openai.APIError as error:
        return error
    finally:
        client.close()


def report(running):
    """What the report says, as JSON."""
    done = tokenworks(running.home, "report", "sovereignty", "--since", "1h", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def settled(count, wanted):
    """Wait until the count is as wanted, or has had every chance to be."""
    end = time.monotonic() + 30
    while (count.sent(HERE), count.sent(FAR)) != wanted and time.monotonic() < end:
        time.sleep(0.05)
    return count.sent(HERE), count.sent(FAR)


def test_with_engines_of_this_machine_alone_no_packet_leaves_and_the_report_proves_it(running, counted):
    for stream in (False, True):
        assert isinstance(ask(running, running.model, "hello there", stream=stream), str)
    refused = ask(running, "remote", "for nobody else", {"x-tokenworks-label": "restricted"})
    assert refused.status_code == 403
    found = report(running)
    assert (found["nothing_left"], found["left"], found["unknown"]) == (True, [], 0)
    assert sum(flow["requests"] for flow in found["stayed"]) + found["reached_nobody"] == found["requests"] >= 3
    assert found["proof"][0]["signed"] == found["proof"][0]["entries"]
    assert settled(counted, (0, 0)) == (0, 0)
    assert counted.packets == 0


def test_the_bytes_of_the_report_are_those_on_the_wire_also_where_an_attempt_failed(running, counted):
    assert ask(running, "remote", "how are you") == "far"
    assert ask(running, "remote", "how are you", stream=True) == "far away it is"
    assert ask(running, "remote", "x" * 300_000) == "far"
    assert ask(running, "remote", "refuse").status_code == 400
    assert isinstance(ask(running, "remote", "break"), openai.APIError)
    assert isinstance(ask(running, "remote", "break", stream=True), openai.APIError)
    ask(running, running.model, "hello there")
    found = report(running)
    (flow,) = found["left"]
    assert (flow["label"], flow["destination"], flow["region"]) == ("public", "remote", "eu-far")
    assert flow["address"].startswith(FAR)
    assert (flow["requests"], flow["attempts"]) == (6, 6)
    # 3 were delivered before it broke; what a server has not told of a prompt that it answered is reckoned
    assert (flow["prompt_tokens"], flow["completion_tokens"]) == (21 + 24, 12)
    assert flow["sent_bytes"] > 300_000
    reported = flow["sent_bytes"], flow["received_bytes"]
    assert settled(counted, reported) == reported
    assert not found["nothing_left"]
