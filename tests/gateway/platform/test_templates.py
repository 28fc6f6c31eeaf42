"""Holes in templates: filled with values, and with nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenworks.core.errors import DataError
from tokenworks.gateway.errors import ApiError
from tokenworks.gateway.platform.templates import check_template, lookup, render


def test_values_are_found_by_their_path():
    values = {"item": {"a": {"b-c": ["x", {"y": 2}]}}, "sample": {"output_text": "said"}}
    assert render("{{item.a.b-c.0}}, {{ item.a.b-c.1 }}, {{ sample.output_text }}.", values) == 'x, {"y":2}, said.'
    assert lookup(" item.a.b-c ", values) == ["x", {"y": 2}]


@pytest.mark.parametrize("path", ["item.b", "item.a.b", "item.list.7", "item.list.-1", "item.list." + "9" * 5000])
def test_a_missing_value_is_named(path):
    with pytest.raises(DataError, match=path.replace(".", r"\.")):
        render("{{ " + path + " }}", {"item": {"a": "text", "list": [1]}})


@pytest.mark.parametrize(
    "hole", ["item", "item.a|upper", "item['a']", "self.x", "7*7", "sample.model", "", "item..a", "item.a()"]
)
def test_what_is_no_name_is_refused(hole):
    with pytest.raises(ApiError, match="is not understood"):
        check_template("x {{" + hole + "}}", param="p", sample=True)


def test_an_answer_cannot_be_named_before_there_is_one():
    with pytest.raises(ApiError, match="is not understood"):
        check_template("{{ sample.output_text }}", param="p", sample=False)


@given(st.text(), st.text())
def test_a_value_is_never_read_as_a_template(value, other):
    values = {"item": {"a": "{{ item.b }}" + value, "b": other}}
    assert render("{{ item.a }}", values) == "{{ item.b }}" + value
