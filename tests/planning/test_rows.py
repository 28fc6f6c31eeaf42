"""The planner's errors beside open measured rows: the bars that it promises."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tokenworks.core.errors import DataError
from tokenworks.planning.rows import by_deployment, predicted, read_rows
from tokenworks.planning.tables import read_tables

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(scope="module")
def measured(data_folder):
    from planner import NODE, measure

    rows = [
        row
        for row in read_rows(data_folder / "serving-measurements" / "silicon_sample.csv")
        if row.tensor * row.replicas <= NODE
    ]
    return measure(rows, read_tables())


def test_priors_alone_keep_their_bar(measured):
    assert measured["priors_alone"]["n"] > 2500
    assert measured["priors_alone"]["median"] <= 0.12


def test_one_point_foretells_other_concurrencies_and_other_lengths(measured):
    assert measured["one_point_other_concurrencies"]["median"] <= 0.06
    assert measured["one_point_other_shapes"]["median"] <= 0.08


def test_the_errors_are_below_those_of_aiconfigurator_on_rows_of_its_kind(measured):
    from planner import AICONFIGURATOR

    ours = measured["priors_alone_vllm_h100_h200"]
    for theirs in AICONFIGURATOR.values():
        assert ours["median"] < theirs["median"]
        assert ours["p90"] < theirs["p90"]


HEAD = (
    "id,silicon_data_source,backend,backend_version,model_path,system,precision,mode,isl,osl,batch_size,tp_size,"
    "attention_dp_size,moe_tp_size,moe_ep_size,silicon_ttft_ms,silicon_tpot_ms\n"
)


def one_row(folder, **changes):
    cells = {
        "id": "x_tp8_ep8_1", "silicon_data_source": "db-dump", "backend": "vllm", "backend_version": "1",
        "model_path": "deepseek-ai/DeepSeek-R1", "system": "h200_sxm", "precision": "fp8", "mode": "agg", "isl": "1024",
        "osl": "1024", "batch_size": "4", "tp_size": "1", "attention_dp_size": "64", "moe_tp_size": "8",
        "moe_ep_size": "8", "silicon_ttft_ms": "100", "silicon_tpot_ms": "20",
    } | changes  # fmt: skip
    path = folder / "rows.csv"
    path.write_text(HEAD + ",".join(cells.values()) + "\n")
    return read_rows(path)


def test_devices_that_inferencex_lists_squared_are_counted_once(tmp_path):
    (row,) = one_row(tmp_path)
    assert (row.tensor, row.replicas, row.concurrency) == (1, 8, 256)


def test_a_row_of_an_unknown_model_is_named_and_not_predicted(tmp_path):
    rows = one_row(tmp_path, model_path="nobody/knows")
    groups, unknown = by_deployment(rows, read_tables())
    assert unknown == {"nobody/knows in fp8 on h200_sxm"}
    assert predicted(groups, 1)[0] != predicted(groups, 1)[0]  # NaN


def test_a_file_that_is_no_such_table_says_what_is_missing(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="missing: batch_size, id, isl"):
        read_rows(tmp_path / "rows.csv")
