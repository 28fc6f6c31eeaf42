"""What the page about conformance says, and what the whole suite left on the ledger."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from conformance.table import Ran, lines_of

pytestmark = pytest.mark.xdist_group("conformance")
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


def test_the_page_shows_the_table_of_a_run_of_today(request):
    """Every check that stands here was run when the page was written, and every one held."""
    ran = [one for one in map(Ran.of, request.session.items) if one]
    if len({one.client for one in ran}) < 6:
        pytest.skip("only a part of the suite was asked for")
    table = "\n".join(lines_of([Ran(one.endpoint, one.client, one.name, passed=True) for one in ran]))
    assert table in PAGE.read_text(), f"run CONFORMANCE_TABLE=FILE pytest -n 0 tests/conformance:\n{table}"


def test_every_request_has_one_entry_and_the_ledger_verifies(served):
    counted = Counter(entry.request_id for entry in served.requests())
    assert counted
    assert max(counted.values()) == 1
    assert served.verified() == []
