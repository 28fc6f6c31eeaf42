"""Thousands of texts at once: the same as one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger.bodies import Bodies


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    puts=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.binary(max_size=400)), max_size=30),
    asked=st.sets(st.sampled_from("abcdefghij")),
)
def test_many_at_once_are_the_same_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[str, bytes]], asked: set[str]
) -> None:
    folder = tmp_path_factory.mktemp("bodies")
    with Bodies(folder, file_bytes=1500) as bodies:
        for number, (key, text) in enumerate(puts):
            bodies.put(key, text, b"%d" % number)
            bodies.put_correction(key, f"right {number}")
        for reader in (bodies, Bodies(folder)):  # some files have an index, the growing one has none
            assert reader.get_many(asked) == {key: reader.get(key) for key in asked if reader.get(key)}
            assert reader.get_corrections(asked) == {k: reader.get_correction(k) for k in asked if reader.get(k)}


def test_a_damaged_text_is_an_error_not_a_gap(tmp_path: Path) -> None:
    with Bodies(tmp_path) as bodies:
        bodies.put("req-1", b"prompt", b"answer")
        bodies.put("req-2", b"prompt", b"answer")
    (path,) = tmp_path.glob("*.bodies")
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="damaged"):
        Bodies(tmp_path).get_many(["req-1"])
