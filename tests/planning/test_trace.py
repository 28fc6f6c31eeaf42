"""Traces: the Azure form, what cannot be meant, a million rows."""

from __future__ import annotations

import numpy as np
import pytest

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.planning.trace import Trace, read_trace

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
GOOD = "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"


def written(folder, text):
    path = folder / "trace.csv"
    path.write_text(text)
    return path


def test_the_azure_form_is_read_to_the_microsecond(tmp_path):
    found = read_trace(written(tmp_path, HEAD + GOOD))
    assert found.arrival_s.tolist() == pytest.approx([0.0, 4.314579], abs=1e-6)
    assert found.tokens == (770, 153)


def test_the_later_azure_form_with_a_zone_and_another_order_of_columns_is_read(tmp_path):
    rows = "44,2024-05-10 00:00:00.009930+00:00,2162\n5,2024-05-10 00:00:01+00:00,7\n"
    text = "GeneratedTokens,TIMESTAMP,ContextTokens\n" + rows
    assert read_trace(written(tmp_path, text)).prompt.tolist() == [2162, 7]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (GOOD + "2023-11-16 18:15:49.0,5,5\n", "line 4: time runs backwards"),
        (GOOD + "2023-11-16 18:15:59.0,-5,5\n", "line 4: prompt of -5 tokens"),
        (GOOD + "2023-11-16 18:15:59.0,5,-1\n", "line 4: answer of -1 tokens"),
        (GOOD + "2023-11-16 18:15:59.0,5,99999999999\n", "line 4: answer of 99999999999 tokens"),
        (GOOD + "2023-11-16 18:15:59.0,5,many\n", "line 4: GeneratedTokens is 'many', not a whole number"),
        (GOOD + "yesterday,5,5\n", "line 4: 'yesterday' is no time such as"),
        (GOOD + "2023-11-16 18:15:59.0,5\n", "line 4: fewer columns"),
        ("", "no requests below the head"),
    ],
)
def test_a_row_that_cannot_be_meant_is_named_with_its_line(tmp_path, rows, said):
    with pytest.raises(DataError, match=said):
        read_trace(written(tmp_path, HEAD + rows))


def test_a_file_without_the_columns_says_which_are_missing(tmp_path):
    with pytest.raises(DataError, match="missing: \\['ContextTokens'"):
        read_trace(written(tmp_path, "TIMESTAMP,tokens\n1,2\n"))


def test_a_file_that_is_not_there_is_a_wrong_option(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        read_trace(tmp_path / "none.csv")


def test_the_real_trace_is_what_its_makers_say(data_folder):
    found = read_trace(data_folder / "traces-llm" / "azure-2023" / "conv_first_half.csv")
    assert len(found) == 9754
    assert found.burstiness == pytest.approx(1.07, abs=0.01)
    assert len(found) / found.span_s == pytest.approx(5.6, abs=0.1)


def some(times):
    count = len(times)
    return Trace(np.array(times, float), np.arange(1, count + 1), np.full(count, 2))


def test_the_busiest_window_is_the_one_with_the_most_tokens():
    found = some([0, 1, 2, 5000, 5001, 5002, 20000]).busiest(3600)
    assert found.prompt.tolist() == [4, 5, 6]
    assert found.arrival_s.tolist() == [0, 1, 2]


def test_thinning_keeps_the_share_and_is_the_same_each_time():
    whole = some(range(10_000))
    assert len(whole.thinned(0.25)) == pytest.approx(2500, rel=0.06)
    assert whole.thinned(0.25).prompt.tolist() == whole.thinned(0.25).prompt.tolist()
    assert len(whole.thinned(0.0)) == 1
