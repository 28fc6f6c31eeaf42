"""Where electricity comes from: a dated table, and signals with gaps."""

from __future__ import annotations

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.metering.carbon.intensity import average, read_signal


def signal(folder, text):
    (folder / "signal.csv").write_text(text)
    return read_signal(folder / "signal.csv")


def test_the_table_that_comes_along_is_dated_and_says_its_source():
    found = average("DE")
    assert (found.g_per_kwh, found.as_of.year) == (344, 2026)
    assert "Our World in Data" in found.source


def test_a_zone_that_is_not_there_is_named_with_what_is_near():
    with pytest.raises(ConfigError, match=r"no zone 'World'; did you mean 'world'\?"):
        average("World")


def test_a_table_of_ones_own_takes_its_place(tmp_path):
    (tmp_path / "own.toml").write_text('as_of = 2026-11-02\nsource = "the utility"\n[zones]\nus-roof = 41\nbad = -1\n')
    assert average("us-roof", tmp_path / "own.toml").g_per_kwh == 41
    with pytest.raises(ConfigError, match="zone 'bad': -1"):
        average("bad", tmp_path / "own.toml")


def test_a_signal_holds_until_its_next_value_and_no_longer_than_two_hours(tmp_path):
    found = signal(tmp_path, "time,g_per_kwh\n2026-10-01T00:00Z,300\n2026-10-01T01:00,200\n1790838000,100\n")
    begin = 1_790_812_800.0
    assert [found.at(begin + hour * 3600) for hour in (-0.01, 0, 0.99, 1, 2.99, 3.01, 6.9, 7, 7.99, 8)] == [
        None, 300, 300, 200, 200, None, None, 100, 100, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("2026-10-01T01:00,1\n2026-10-01T00:00,2\n", "line 3: its time is not after"),
        ("2026-10-01T01:00,-5\n", "line 2: -5"),
        ("2026-10-01T01:00,nan\n", "line 2: nan"),
        ("2026-10-01T01:00,much\n", "line 2: g_per_kwh 'much' is not a number"),
        ("yesterday,1\n", "line 2: time 'yesterday'"),
        ("", "it has no rows"),
    ],
)
def test_a_signal_that_cannot_be_meant_is_named_with_its_line(tmp_path, rows, said):
    with pytest.raises(ConfigError, match=said):
        signal(tmp_path, f"time,g_per_kwh\n{rows}")


def test_a_signal_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="there is no such signal"):
        read_signal(tmp_path / "none.csv")
