"""Retention: what is older than may be kept is dropped with its copies, on record, and the rest stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

from factory.erasable import bytes_below, open_home
from tokenworks.factory.keeping import drop_old, keep_house
from tokenworks.ledger.entries import ErasureEntry
from tokenworks.ledger.reader import read
from tokenworks.ledger.verify import verify


def test_old_texts_and_datasets_are_dropped_and_the_log_says_so(tmp_path: Path) -> None:
    made = open_home(tmp_path / "home")
    made.converse()
    made.learn()
    made.house.close()
    for path in (tmp_path / "home" / "bodies").iterdir():
        os.utime(path, (1000, 1000))
    made = open_home(tmp_path / "home")
    made.traffic.count = 100
    made.traffic.ask("madagascar is new")
    assert drop_old(made.house, before=2000) == 24
    assert b"zanzibar" in bytes_below(made.house.home)  # the dataset was made only now
    assert drop_old(made.house, before=time.time() + 1) == 1
    kept = bytes_below(made.house.home)
    assert b"zanzibar" not in kept
    entries = [entry for _, entry in read(made.house.ledger_root) if isinstance(entry, ErasureEntry)]
    assert [(entry.by, entry.requests) for entry in entries] == [("retention", 24), ("retention", 1)]
    assert verify(made.house.ledger_root).ok
    assert drop_old(made.house, before=time.time() + 1) == 0
    made.house.close()


def test_without_a_limit_everything_is_kept(tmp_path: Path) -> None:
    made = open_home(tmp_path / "home")
    made.converse()
    assert keep_house(made.house) == 0
    assert b"zanzibar" in bytes_below(made.house.home)
    made.house.close()
