"""A wrong key or value is named with its line and the nearest right one."""

import pytest

from tokenworks.core.errors import ConfigError
from tokenworks.core.task import Task
from tokenworks.core.toml import line_of, parse_toml, read_toml


def test_an_unknown_key_names_its_line_and_the_nearest_right_key():
    text = '[task]\nname = "x"\nkind = "classify"\n\n[check]\nflor = { overall = 0.8 }\n'
    with pytest.raises(ConfigError, match=r"t\.toml line 6: unknown key 'flor' in \[check\]; did you mean 'floor'\?"):
        parse_toml(text, Task, where="t.toml")


def test_a_key_like_no_other_lists_what_is_known():
    with pytest.raises(ConfigError, match=r"line 4: unknown key 'zzz' in \[turn\]; known here: autonomy, .*when"):
        parse_toml('[task]\nname="x"\n[turn]\nzzz = 1', Task, where="t")


def test_a_wrong_value_names_its_line_and_what_was_expected():
    with pytest.raises(ConfigError, match=r"t line 3: task\.kind: Invalid enum value 'clasify'"):
        parse_toml('[task]\nname = "x"\nkind = "clasify"\n', Task, where="t")


def test_a_missing_required_key_is_named():
    with pytest.raises(ConfigError, match="missing required field `name`"):
        parse_toml('[task]\nkind = "classify"\n', Task, where="t")


def test_broken_toml_says_where_it_breaks():
    with pytest.raises(ConfigError, match=r"t: not valid TOML: .*line 2"):
        parse_toml("[task]\nname = \n", Task, where="t")


def test_a_missing_file_and_a_binary_file_are_named(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        read_toml(tmp_path / "no.toml", Task)
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 0"):
        read_toml(tmp_path / "b.toml", Task)


def test_lines_are_found_in_sections_dotted_keys_and_quoted_keys():
    text = '[a.b]\nc = 1\n"d e" = 2\n[f]\ng.h = 3\n'
    assert line_of(text, ("a", "b", "c")) == " line 2"
    assert line_of(text, ("a", "b", "d e")) == " line 3"
    assert line_of(text, ("f", "g", "h")) == " line 5"
    assert line_of(text, ("nowhere",)) == ""
