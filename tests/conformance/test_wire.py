"""Bytes that no client would send: whatever comes, it is refused or cut off, recorded once, and nobody else waits.

FUZZ=full for the long form: a streamed answer is left at every byte, and bodies are mutated ten times as often.
"""

from __future__ import annotations

import json
import os
import random
import socket
import time

import pytest

from conformance.rawly import Wire, answer_of, chat, everything, hang_up

FULL = os.environ.get("FUZZ") == "full"
pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(300)]
SMUGGLED = "smuggled-request-id"
PATIENT_S = 60.0  # twenty small answers on a busy machine


@pytest.fixture(scope="module")
def wire(served):
    return Wire(served)


def smuggling(wire):
    """Return requests that two readers could read differently, each with another hidden behind it."""
    body = chat(wire.served.writer)
    hidden = wire.head(len(body))[0].replace(b"X-Request-Id: raw", f"X-Request-Id: {SMUGGLED}".encode()) + body
    auth = f"Host: x\r\nAuthorization: Bearer {wire.served.key}\r\n".encode()
    post = b"POST /v1/chat/completions HTTP/1.1\r\n" + auth
    chunked = b"Transfer-Encoding: chunked\r\n"
    return {
        "length and chunked": post + b"Content-Length: 4\r\n" + chunked + b"\r\n0\r\n\r\n" + hidden,
        "chunked and length": post + chunked + b"Content-Length: 4\r\n\r\n0\r\n\r\n" + hidden,
        "two lengths": post + b"Content-Length: 2\r\nContent-Length: 900\r\n\r\n{}" + hidden,
        "lengths in a list": post + b"Content-Length: 2, 900\r\n\r\n{}" + hidden,
        "signed length": post + b"Content-Length: +2\r\n\r\n{}" + hidden,
        "negative length": post + b"Content-Length: -1\r\n\r\n" + hidden,
        "length beyond all measure": post + b"Content-Length: 99999999999999999999999\r\n\r\n{}" + hidden,
        "unknown encoding": post + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden,
        "chunked twice over": post + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + hidden,
        "folded header": post + b"X-A: b\r\n Content-Length: 900\r\nContent-Length: 2\r\n\r\n{}" + hidden,
        "space before colon": post + b"Content-Length : 900\r\nContent-Length: 2\r\n\r\n{}" + hidden,
        "bare line feeds": (post + b"Content-Length: 2\r\n\r\n").replace(b"\r\n", b"\n") + b"{}" + hidden,
        "bare carriage return": post + b"X-A: b\rContent-Length: 900\r\nContent-Length: 2\r\n\r\n{}" + hidden,
        "zero byte": post + b"X-A: \0\r\nContent-Length: 2\r\n\r\n{}" + hidden,
        "wrong chunk size": post + chunked + b"\r\n-2\r\n{}\r\n0\r\n\r\n" + hidden,
        "chunk size beyond all measure": post + chunked + b"\r\nfffffffffffffffffffff\r\n{}\r\n0\r\n\r\n" + hidden,
    }


def test_requests_that_two_readers_could_read_differently_carry_nothing_in(wire):
    for name, data in smuggling(wire).items():
        answered = wire.raw(data)
        status, _ = answer_of(answered)
        assert status == 0 or 400 <= status < 500, (name, answered[:300])
    wire.alive()
    assert not [one for one in wire.served.requests() if one.request_id.startswith(SMUGGLED)]


def test_two_requests_that_follow_each_other_plainly_are_both_answered(wire):
    """What the test above would find if a hidden request got in."""
    body = chat(wire.served.writer)
    (one, first), (two, second) = wire.head(len(body)), wire.head(len(body), "Connection: close")
    answered = wire.raw(one + body + two + body)
    assert answered.count(b"HTTP/1.1 200") == 2
    assert set(wire.settled([first, second])) == {first, second}


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200,  # the beginning of TLS
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(20_000)) + b"\r\n",
        b"GET /v1/models/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/files/%2e%2e%2f%2e%2e/content HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models/%ff%fe%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_request_is_refused_or_cut_off(wire, data):
    status, body = answer_of(wire.raw(data))
    assert status == 0 or 400 <= status < 500, body
    wire.alive()


def bodies(model):
    """Yield bodies that are wrong, with what the answer must be."""
    good = chat(model).decode()
    deep = 100_000
    yield b"", {400}
    yield b"null", {400}
    yield b"[" * deep, {400}
    yield b"[" * deep + b"]" * deep, {400}
    yield b'{"a":' * deep, {400}
    yield f'{{"model":"{model}","messages":{"[" * 5000}{"]" * 5000}}}'.encode(), {400}
    nested = '{"a":' * 2000 + "1" + "}" * 2000
    yield f'{{"model":"{model}","messages":[{{"role":"user","content":[{nested}]}}]}}'.encode(), {400}
    yield good.replace("a card", "a \xff card").encode("latin-1"), {400}
    yield good.replace("a card", r"a \ud800 card").encode(), {200, 400}
    yield good.replace("a card", r"a \u0000 card").encode(), {200, 400}
    yield good.replace('"max_tokens": 2', '"max_tokens": 2, "model": "nothing"').encode(), {400}
    yield good.replace('"max_tokens": 2', r'"max_tokens": 2, "mod\u0065l": "nothing"').encode(), {400, 404}
    for value in ("NaN", "Infinity", "1e999", "-0.0", "9" * 400, "1" + "0" * 4000, "0x10", "01", '"2"', "[2]", "{}"):
        yield good.replace('"max_tokens": 2', f'"temperature": {value}, "max_tokens": 1').encode(), {200, 400}
        yield good.replace('"max_tokens": 2', f'"max_tokens": {value}').encode(), {200, 400}
        yield good.replace('"max_tokens": 2', f'"seed": {value}, "max_tokens": 1').encode(), {200, 400}
    for more in ('"n": 1000', '"n": 0', '"n": -1', '"logit_bias": {"x": 1e9}', '"stop": ["a", 1]', '"messages": []'):
        yield good.replace('"max_tokens": 2', f'"max_tokens": 1, {more}').encode(), {400}
    yield chat(model, user="x" * 1_000_000), {200, 400}
    yield chat(model, messages=[{"role": "user", "content": "x" * 5_000_000}]), {400}
    yield chat(model, messages=[{"role": "user", "content": "x"}] * 20_000), {400}
    yield b" " * 17_000_000, {413}


def test_wrong_bodies_are_refused_and_recorded_once_each(wire):
    told = {}
    for body, allowed in bodies(wire.served.writer):
        status, answer, id = wire.post(body)
        assert status in allowed, (body[:200], status, answer[:300])
        told[id] = status
    entries = wire.settled(list(told))
    assert {id: entry.status for id, entry in entries.items()} == told
    wire.alive()


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages", "/v1/rerank"]
)
def test_mutated_bodies_never_break_the_server_and_are_recorded_once_each(wire, path):
    rng, told = random.Random(path), {}
    seed = {"model": wire.served.writer, "max_tokens": 2, "messages": [{"role": "user", "content": "a"}], "input": "a"}
    kept = {"/v1/completions": ("model", "max_tokens"), "/v1/embeddings": ("model", "input"), "/v1/rerank": ("model",)}
    kept |= {"/v1/responses": ("model", "input"), "/v1/messages": ("model", "max_tokens", "messages")}
    seed = {name: seed[name] for name in kept.get(path, ("model", "max_tokens", "messages"))}
    for _ in range(300 if FULL else 30):
        status, answer, id = wire.post(mutated(json.dumps(seed).encode(), rng), path=path)
        assert 200 <= status < 500 or status == 503, (status, answer[:300])
        told[id] = status
    assert {id: entry.status for id, entry in wire.settled(list(told)).items()} == told
    wire.alive()


def mutated(body, rng):
    """Return `body` with some bytes flipped, doubled, dropped, or put in from elsewhere."""
    data = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = data[at : at + rng.randint(1, 20)]
        elif kind == 2:
            del data[at : at + rng.randint(1, 10)]
        else:
            data[at:at] = rng.choice([b"null", b"1e400", b'"', b"{", b"[[[[", b"\xff", b"\\u0000", b',"stream":true'])
    return bytes(data)


def test_whoever_stops_in_the_middle_of_a_request_is_recorded_at_most_once(wire):
    body = chat(wire.served.writer)
    head, _ = wire.head(len(body))
    whole = head + body
    ids = []
    for at in range(0, len(whole), 1 if FULL else 37):
        head, id = wire.head(len(body))
        line = wire.connect()
        line.sendall((head + body)[:at])
        (hang_up if at % 2 else socket.socket.close)(line)
        ids.append(id)
    wire.alive()
    assert max(len(found) for found in wire.entries(ids).values()) <= 1


def test_an_answer_that_says_its_length_is_not_chunked_as_well(wire):
    """Node refuses one that is both (RFC 9112, 6.2); Python's clients do not."""
    with wire.served.client() as client:
        file = client.files.create(file=("rows.jsonl", b"{}\n"), purpose="evals")
    head, _ = wire.head(None, "Connection: close", path=f"/v1/files/{file.id}/content")
    with wire.connect() as line:
        line.sendall(head.replace(b"POST", b"GET", 1))
        told, _, body = everything(line).partition(b"\r\n\r\n")
    assert b"content-length: 3" in told.lower()
    assert b"transfer-encoding" not in told.lower()
    assert body == b"{}\n"


def test_a_half_closed_connection_is_answered_or_closed_and_recorded_once(wire):
    body = chat(wire.served.writer)
    head, id = wire.head(len(body), "Connection: close")
    with wire.connect() as line:
        line.sendall(head + body)
        line.shutdown(socket.SHUT_WR)
        status, _ = answer_of(everything(line))
    assert status in (0, 200)
    assert wire.settled([id])[id].status in (200, 499)
    head, id = wire.head(len(body) + 100)
    with wire.connect() as line:
        line.sendall(head + body)
        line.shutdown(socket.SHUT_WR)
        status, _ = answer_of(everything(line))
    assert status == 0 or 400 <= status < 500
    assert wire.settled([id])[id].outcome in ("cancelled", "refused")


def test_slow_senders_keep_nobody_waiting(wire):
    body = chat(wire.served.writer)
    slow = [wire.connect() for _ in range(100)]
    for number, line in enumerate(slow):
        head, _ = wire.head(len(body))
        line.sendall(head[:40] if number % 2 else head + body[:10])
    began = time.monotonic()
    for line in slow[:20]:
        line.sendall(b" ")
        wire.alive()
    assert time.monotonic() - began < PATIENT_S
    for line in slow:
        hang_up(line)
    deadline = time.monotonic() + PATIENT_S
    while wire.served.in_flight():
        assert time.monotonic() < deadline, "those who hung up are still counted"
        time.sleep(0.05)
    wire.alive()


def test_a_stream_that_is_left_at_any_byte_has_one_entry(wire):
    body = chat(wire.served.writer, stream=True, max_tokens=6, temperature=0, ignore_eos=True)
    status, answer, id = wire.post(body)
    assert status == 200
    whole = wire.settled([id])[id]
    tokens = {}
    for at in range(1, len(answer), 1 if FULL else max(1, len(answer) // 60)):
        head, id = wire.head(len(body), "Connection: close")
        line = wire.connect()
        line.sendall(head + body)
        got = b""
        while len(got) < at and (piece := line.recv(at - len(got))):
            got += piece
        hang_up(line)
        tokens[id] = got.count(b'"content":"')
    for id, entry in wire.settled(list(tokens)).items():
        assert entry.outcome in ("ok", "cancelled"), entry
        assert tokens[id] - 1 <= entry.completion_tokens <= whole.completion_tokens
    wire.alive()
