"""The default example: what every Python has, as two tasks."""

import msgspec
import pytest

from tokenworks.core.errors import DataError
from tokenworks.core.task import read_task
from tokenworks.example.stdlib import FEWEST, MOST, Example, write_example


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    return folder, write_example(folder, owner="mailto:team@example.org")


def rows(path):
    return msgspec.json.Decoder(Example).decode_lines(path.read_bytes())


def test_both_task_files_are_valid_tasks_with_an_owner(written):
    _, files = written
    tasks = [read_task(file) for file in files]
    assert [(task.name, task.kind) for task in tasks] == [("route", "classify"), ("complete", "complete")]
    assert all(task.task.owner for task in tasks)


def test_each_module_has_enough_examples_and_none_drowns_the_others(written):
    folder, _ = written
    counts = {}
    for row in rows(folder / "route.jsonl"):
        counts[row.label] = counts.get(row.label, 0) + 1
    assert len(counts) > 30
    assert min(counts.values()) >= FEWEST
    assert max(counts.values()) <= MOST


def test_no_request_of_the_traffic_was_an_example(written):
    folder, _ = written
    known = {row.text.lower() for row in rows(folder / "route.jsonl")}
    traffic = rows(folder / "traffic.jsonl")
    assert len(traffic) > 1000
    assert not [row for row in traffic if row.text.lower() in known]


def test_written_twice_the_files_are_the_same(written, tmp_path):
    folder, files = written
    write_example(tmp_path, owner="mailto:team@example.org")
    for file in [*files, folder / "route.jsonl", folder / "traffic.jsonl"]:
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


def test_a_python_without_sources_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="use --docs DIR or --task FILE"):
        write_example(tmp_path / "out", owner="o", library=tmp_path)
