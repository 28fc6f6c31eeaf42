"""A moment in the past as people write it."""

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.core.since import parse_since

NOW = 1_763_000_000.0


@pytest.mark.parametrize(
    ("text", "ago_s"), [("30d", 30 * 86_400), ("12h", 43_200), ("90m", 5_400), ("2w", 1_209_600), ("1.5h", 5_400)]
)
def test_how_long_ago(text, ago_s):
    assert parse_since(text, NOW) == NOW - ago_s


def test_a_date_is_its_midnight_in_utc_and_a_zone_is_heeded():
    assert parse_since("2025-11-01", NOW) == 1_761_955_200.0
    assert parse_since("2025-11-01T02:00+02:00", NOW) == 1_761_955_200.0


@pytest.mark.parametrize("text", ["", "yesterday", "30", "-3d", "1e9d", "30 d", "9999999999d", "2025-13-01"])
def test_anything_else_names_the_ways_to_write_it(text):
    with pytest.raises(ConfigError, match="write 30d, 12h, 90m, 2w or a date"):
        parse_since(text, NOW)


def test_a_moment_to_come_is_refused():
    with pytest.raises(ConfigError, match="yet to come"):
        parse_since("2999-01-01", NOW)
