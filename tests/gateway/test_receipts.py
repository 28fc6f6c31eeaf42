"""A receipt with the answer: what a tenant keeps, to show later that an entry is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenworks.ledger.heads import LATEST, read_head
from tokenworks.ledger.note import VerifierKey
from tokenworks.ledger.proof import check_entry
from tokenworks.ledger.proving import entry_proof
from tokenworks.ledger.receipt import Receipt, check_kept, read
from tokenworks.ledger.signing import read_verifier

if TYPE_CHECKING:
    from .conftest import House

ASKED = {"x-tokenworks-receipt": "yes"}
HELLO = [{"role": "user", "content": "hello"}]


def _key(house: House) -> VerifierKey:
    return read_verifier(house.home / "keys" / "ledger.vkey")


def _is_kept(house: House, receipt: Receipt) -> bool:
    """Prove the promised entry once a checkpoint covers it; compare."""
    log = house.home / "ledger"
    house.wait_until(lambda: read_head(log / "gateway" / LATEST).size > receipt.index)
    found = check_entry(entry_proof(log, house.home / "tree", f"gateway:{receipt.index}"), _key(house))
    check_kept(receipt, found.origin, found.index, found.size, found.leaf)
    return found.entry["request_id"] == receipt.request_id


def test_a_whole_answer_bears_the_receipt_in_a_header(house: House) -> None:
    house.release("complete")
    raw = house.openai().chat.completions.with_raw_response.create(
        model="complete", messages=HELLO, max_tokens=3, extra_headers=ASKED
    )
    assert raw.parse().choices[0].message.content is not None
    receipt = read(raw.headers["x-tokenworks-receipt"], _key(house))
    assert receipt.request_id == raw.headers["x-request-id"]
    assert _is_kept(house, receipt)


def test_a_refusal_bears_one_too(house: House) -> None:
    answer = house.http().post("/v1/chat/completions", json={"model": "nobody", "messages": HELLO}, headers=ASKED)
    assert answer.status_code == 404
    assert _is_kept(house, read(answer.headers["x-tokenworks-receipt"], _key(house)))


def test_a_stream_bears_it_as_a_comment_that_clients_skip(house: House) -> None:
    house.release("complete")
    body = {"model": "complete", "messages": HELLO, "max_tokens": 3, "stream": True}
    text = house.http().post("/v1/chat/completions", json=body, headers=ASKED).text
    (line,) = [line for line in text.splitlines() if line.startswith(": x-tokenworks-receipt: ")]
    assert text.endswith("data: [DONE]\n\n")
    assert _is_kept(house, read(line.removeprefix(": x-tokenworks-receipt: "), _key(house)))
    chunks = house.openai().chat.completions.create(
        model="complete", messages=HELLO, max_tokens=3, stream=True, extra_headers=ASKED
    )
    assert sum(len(chunk.choices) for chunk in chunks) > 1


def test_who_does_not_ask_gets_none(house: House) -> None:
    answer = house.http().post("/v1/chat/completions", json={"model": "nobody", "messages": HELLO})
    assert "x-tokenworks-receipt" not in answer.headers
