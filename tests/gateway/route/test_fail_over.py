"""Where requests go, and where when a destination fails: real servers that misbehave behind the real gateway."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from tokenworks.core.errors import ConfigError

from .conftest import WORDS, Rogue, Routed

TEXT = "".join(WORDS)
ROGUE = Callable[..., Rogue]
ROUTED = Callable[..., Routed]
FAILS = {
    "half": "lost",
    "silence": "silent",
    "rst": "lost",
    "busy": "busy",
    "unavailable": "busy",
    "broken": "failed",
    "no_key": "refused",
    "redirect": "refused",
    "garbage": "lost",
}


def remote(name: str, server: Rogue | str, **more: Any) -> dict[str, Any]:
    url = server if isinstance(server, str) else server.url
    return {"name": name, "url": url, "model": "far", "first_byte_s": 20, "key": f"key-of-{name}", **more}


def test_without_routes_nothing_leaves_and_nothing_is_said_of_destinations(routed: ROUTED, rogue: ROGUE) -> None:
    server = rogue()
    gate = routed(remotes=[remote("cloud", server)], routes={})
    answer = gate.ask("complete")
    assert (answer.status_code, server.requests, gate.sent(answer)) == (200, [], [])
    assert "x-tokenworks-destination" not in answer.headers


@pytest.mark.parametrize("how", FAILS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_destination_that_fails_before_its_first_byte_is_replaced(
    routed: ROUTED, rogue: ROGUE, how: str, stream: bool
) -> None:
    if stream and how == "half":
        pytest.skip("half a stream has a first byte")
    first, second = rogue(how), rogue("ok")
    patient_s = 0.3 if how == "silence" else 20
    gate = routed(
        remotes=[remote("a", first, first_byte_s=patient_s), remote("b", second)],
        routes={"far": {"order": ["a", "b"]}},
    )
    answer = gate.ask("far", stream=stream)
    assert answer.status_code == 200
    assert answer.headers["x-tokenworks-destination"] == "b"
    assert gate.sent(answer) == [("a", FAILS[how]), ("b", "ok")]
    assert (len(first.requests), len(second.requests)) == (1, 1)
    entry = gate.entry(answer)
    assert (entry.completion_tokens, entry.version, entry.engine) == (4, "far@0", "openai")
    assert entry.sent[0].region == "elsewhere"
    assert entry.sent[0].size_bytes > 0


def test_an_error_as_the_first_event_of_a_stream_is_a_failure(routed: ROUTED, rogue: ROGUE) -> None:
    first, second = rogue("error_event"), rogue("ok")
    gate = routed(remotes=[remote("a", first), remote("b", second)], routes={"far": {"order": ["a", "b"]}})
    answer = gate.ask("far", stream=True)
    assert gate.sent(answer) == [("a", "lost"), ("b", "ok")]
    assert "out of memory" not in answer.text


def test_nobody_listens_there(routed: ROUTED, rogue: ROGUE) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    gate = routed(
        remotes=[remote("a", f"http://127.0.0.1:{port}/v1"), remote("b", rogue())],
        routes={"far": {"order": ["a", "b"]}},
    )
    assert gate.sent(gate.ask("far")) == [("b", "ok")], "nothing was sent to where nobody listens"


def test_a_refusal_of_the_request_itself_is_the_answer(routed: ROUTED, rogue: ROGUE) -> None:
    second = rogue()
    gate = routed(
        remotes=[remote("a", rogue("bad_request")), remote("b", second)], routes={"far": {"order": ["a", "b"]}}
    )
    answer = gate.ask("far")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert second.requests == []


def test_our_own_engine_stands_in_for_a_server_elsewhere(routed: ROUTED, rogue: ROGUE) -> None:
    gate = routed(remotes=[remote("a", rogue("rst"))], routes={"complete": {"order": ["a", "here"]}})
    answer = gate.ask("complete")
    assert (answer.status_code, gate.sent(answer)) == (200, [("a", "lost"), ("here", "ok")])
    assert gate.entry(answer).engine == "openvino"


def test_the_last_failure_is_told_where_nobody_answers(routed: ROUTED, rogue: ROGUE) -> None:
    gate = routed(
        remotes=[remote("a", rogue("no_key")), remote("b", rogue("broken"))], routes={"far": {"order": ["b", "a"]}}
    )
    answer = gate.ask("far")
    assert answer.status_code == 502
    assert "sk-of-the-operator" not in answer.text
    assert gate.sent(answer) == [("b", "failed"), ("a", "refused")]
    assert gate.entry(answer).outcome == "failed"


def test_after_bytes_were_passed_on_nobody_else_is_asked(routed: ROUTED, rogue: ROGUE) -> None:
    first, second = rogue("half"), rogue("ok")
    gate = routed(remotes=[remote("a", first), remote("b", second)], routes={"far": {"order": ["a", "b"]}})
    answer = gate.ask("far", stream=True)
    assert (answer.status_code, second.requests) == (200, [])
    assert '"code":"engine_error"' in answer.text
    assert gate.entry(answer).outcome == "failed"


def test_text_goes_only_where_its_label_may(routed: ROUTED, rogue: ROGUE) -> None:
    """What is not declared counts as the most that the key may see."""
    public, inside = rogue(), rogue("rst")
    remotes = [remote("inside", inside, label="restricted"), remote("open", public, label="public")]
    gate = routed(remotes=remotes, routes={"far": {"order": ["inside", "open"]}})
    for label in ("internal", ""):
        answer = gate.ask("far", label=label)
        assert (answer.status_code, gate.sent(answer)) == (502, [("inside", "lost")])
    assert public.requests == []
    only = routed(
        remotes=[remote("open", public)], routes={"complete": {"order": ["open"]}, "far": {"order": ["open"]}}
    )
    for label in ("internal", ""):
        assert only.ask("far", label=label).status_code == 403
    assert public.requests == []


def test_a_busy_destination_rests_for_as_long_as_it_asks(routed: ROUTED, rogue: ROGUE) -> None:
    busy, second = rogue("busy"), rogue()
    gate = routed(remotes=[remote("a", busy), remote("b", second)], routes={"far": {"order": ["a", "b"]}})
    for _ in range(4):
        assert gate.ask("far").status_code == 200
    assert (len(busy.requests), len(second.requests)) == (1, 4)


def test_a_destination_that_keeps_failing_is_left_alone(routed: ROUTED, rogue: ROGUE) -> None:
    broken = rogue("broken")
    gate = routed(remotes=[remote("a", broken)], routes={"far": {"order": ["a"]}})
    answers = [gate.ask("far") for _ in range(6)]
    assert [answer.status_code for answer in answers] == [500, 500, 500, 503, 503, 503]
    assert len(broken.requests) == 3
    assert answers[-1].json()["error"]["code"] == "destinations_resting"
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_no_field_of_a_request_says_where_it_goes(routed: ROUTED, rogue: ROGUE) -> None:
    trap, server = rogue(), rogue()
    gate = routed(remotes=[remote("a", server)], routes={"far": {"order": ["a"]}})
    for field in ("base_url", "api_base", "url", "remote_url", "destination", "endpoint", "host"):
        assert gate.ask("far", **{field: trap.url}).status_code == 400
    headers = {"host": f"127.0.0.1:{trap.port}", "x-forwarded-host": trap.url, "x-tokenworks-destination": trap.url}
    body = {"model": "far", "prompt": trap.url, "user": trap.url, "metadata": {"base_url": trap.url}}
    answer = gate.http.post("/v1/completions", json=body, headers={**headers, "x-tokenworks-label": "public"})
    assert answer.status_code == 200
    for model in (trap.url, f"far@{trap.url}", "far/../../x", f"@{trap.port}"):
        assert gate.ask(model).status_code == 404
    assert trap.requests == []
    path, sent, _ = server.requests[0]
    assert (path, sent["host"], sent["authorization"]) == (
        "/v1/completions",
        f"127.0.0.1:{server.port}",
        "Bearer key-of-a",
    )
    assert gate.house.secret not in str(server.requests)


def test_burst_goes_elsewhere_only_while_the_first_choice_is_busy(routed: ROUTED, rogue: ROGUE) -> None:
    far = rogue()
    gate = routed(remotes=[remote("a", far)], routes={"complete": {"order": ["here", "a"], "when": "burst", "busy": 1}})
    assert gate.sent(gate.ask("complete")) == [("here", "ok")]
    body = {
        "model": "complete",
        "prompt": "the",
        "max_tokens": 1500,
        "stream": True,
        "temperature": 0,
        "ignore_eos": True,
    }
    with gate.http.stream("POST", "/v1/completions", json=body, headers={"x-tokenworks-label": "public"}) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        assert gate.sent(gate.ask("complete")) == [("a", "ok")]
        assert gate.sent(gate.ask("complete", label="internal")) == [("here", "ok")]
    gate.house.wait_until(lambda: all(place.under_way == 0 for place in gate.far.router.places()))
    assert gate.sent(gate.ask("complete")) == [("here", "ok")]


def test_a_request_that_takes_unusually_long_is_asked_a_second_time(routed: ROUTED, rogue: ROGUE) -> None:
    slow, quick = rogue(*["ok"] * 60, "late", "ok"), rogue()
    gate = routed(
        remotes=[remote("a", slow, first_byte_s=30), remote("b", quick)],
        routes={"far": {"order": ["a", "b"]}},
        hedge_percent=20,
    )
    answers = [gate.ask("far") for _ in range(61)]
    assert {answer.status_code for answer in answers} == {200}
    assert len(quick.requests) <= 0.2 * len(answers)
    assert sorted(gate.sent(answers[-1])) == [("a", "dropped"), ("b", "ok")]
    assert answers[-1].headers["x-tokenworks-destination"] == "b"


def test_whom_nobody_has_described_cannot_be_in_a_route(routed: ROUTED, rogue: ROGUE) -> None:
    for table, why in [
        ({"far": {"order": ["b"]}}, "'b' is not described"),
        ({"far": {"order": []}}, "at least one destination"),
        ({"far": {"order": ["a", "a"]}}, "each once"),
        ({"far": {"order": ["a"], "busy": 0}}, "busy"),
    ]:
        with pytest.raises(ConfigError, match=why):
            routed(remotes=[remote("a", rogue())], routes=table)
    for more, why in [
        ({"name": "here"}, "cannot be a name"),
        ({"region": "here"}, "this site's own"),
        ({"first_byte_s": 0}, "more than 0"),
        ({"label": "pubic"}, "public"),
        ({"key_env": "NO_SUCH_KEY", "key": ""}, "NO_SUCH_KEY"),
        ({"key_file": "/no/such/file", "key": ""}, "/no/such/file"),
        ({"key_env": "X"}, "give one of"),
        ({"url": "ftp://x"}, r"http\(s\) URL"),
    ]:
        with pytest.raises(ConfigError, match=why):
            routed(remotes=[{**remote("a", rogue()), **more}], routes={})
    with pytest.raises(ConfigError, match="same name"):
        routed(remotes=[remote("a", rogue()), remote("a", rogue())], routes={})
