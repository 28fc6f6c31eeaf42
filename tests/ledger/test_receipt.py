"""Receipts: a promise that can be held against the log."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.tampering import Scene, change, forge_heads
from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.note import LOG, SignerKey
from tokenworks.ledger.position import Position
from tokenworks.ledger.proof import check_entry
from tokenworks.ledger.proving import entry_proof
from tokenworks.ledger.receipt import check_kept, give, read
from tokenworks.ledger.writer import Ledger

KEY = SignerKey.make("example.com/ledger", LOG)


def test_a_kept_promise_passes_and_a_broken_one_is_shown(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway", key=KEY) as ledger:
        promised = [read(ledger.receipt(entry(n), ledger.append(entry(n)), f"req-{n}"), KEY.public) for n in range(20)]
    shown = check_entry(entry_proof(tmp_path, tmp_path / "view", "gateway:5"), KEY.public)
    check_kept(promised[5], shown.origin, shown.index, shown.size, shown.leaf)
    with pytest.raises(IntegrityError, match="ask for the proof of that one"):
        check_kept(promised[6], shown.origin, shown.index, shown.size, shown.leaf)
    change(Scene(tmp_path, KEY, tmp_path, tmp_path))  # entry 5, by the operator himself, who signs it all again
    forge_heads(tmp_path / "gateway", KEY)
    shown = check_entry(entry_proof(tmp_path, tmp_path / "view", "gateway:5"), KEY.public)
    with pytest.raises(IntegrityError, match=r"OMITTED: .* promised request req-5 as entry 5"):
        check_kept(promised[5], shown.origin, shown.index, shown.size, shown.leaf)


def test_a_ledger_without_a_key_promises_nothing(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway") as ledger:
        assert ledger.receipt(entry(0), ledger.append(entry(0)), "req-0") == ""


@given(spot=st.integers(0, 10_000), sign=st.characters(codec="ascii"))
def test_no_changed_receipt_passes(spot: int, sign: str) -> None:
    line = give(KEY, Position("gateway", 7), b"entry", "req-7", 12.5)
    spot %= len(line)
    changed = line[:spot] + sign + line[spot + 1 :]
    try:
        assert read(changed, KEY.public) == read(line, KEY.public)  # e.g. the same character
    except IntegrityError:
        return


def test_a_checkpoint_is_no_receipt_and_a_strangers_receipt_none_of_ours(tmp_path: Path, entry) -> None:
    with Ledger(tmp_path, "gateway", key=KEY) as ledger:
        ledger.append(entry(0))
    from tokenworks.ledger.heads import LATEST, read_head

    checkpoint = read_head(tmp_path / "gateway" / LATEST).checkpoint
    with pytest.raises(IntegrityError, match="receipt"):
        read(base64.b64encode(checkpoint.encode()).decode(), KEY.public)
    stranger = SignerKey.make("example.com/other", LOG)
    with pytest.raises(IntegrityError, match=r"not signed by example\.com/ledger"):
        read(give(stranger, Position("gateway", 1), b"x", "req-1", 1.0), KEY.public)
