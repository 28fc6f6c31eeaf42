"""A checkpoint is whole or not there; a damaged one is named and the one before is taken."""

from __future__ import annotations

import pytest
import torch

from tokenworks.line.train.causal.checkpoint import Progressed, newest_checkpoint, write_checkpoint


def write(folder, *steps: int) -> None:
    for step in steps:
        write_checkpoint(folder, {"w": torch.full((4,), float(step))}, Progressed(step=step, losses=[(step, 1.5)]))


def test_the_newest_one_is_found_with_its_log(tmp_path):
    write(tmp_path, 5, 10)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    state, progressed, remarks = found
    assert state["w"].tolist() == [10.0] * 4
    assert progressed.losses == [(10, 1.5)]
    assert remarks == []


def test_two_are_kept(tmp_path):
    write(tmp_path, 1, 2, 3, 4)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "step-000000003.safetensors",
        "step-000000004.safetensors",
    ]


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty note", "note gone wrong"])
def test_a_damaged_one_is_named_and_the_one_before_is_taken(tmp_path, damage):
    write(tmp_path, 1, 2)
    tensors, note = tmp_path / "step-000000002.safetensors", tmp_path / "step-000000002.json"
    data = bytearray(tensors.read_bytes())
    if damage == "flip":
        data[-1] ^= 255
        tensors.write_bytes(bytes(data))
    elif damage == "truncate":
        tensors.write_bytes(bytes(data[:20]))
    elif damage == "remove":
        tensors.unlink()
    else:
        note.write_bytes(b"" if damage == "empty note" else b'{"sha256": 3}')
    found = newest_checkpoint(tmp_path)
    assert found is not None
    state, progressed, remarks = found
    assert progressed.step == 1
    assert state["w"].tolist() == [1.0] * 4
    assert "step-000000002 is damaged" in remarks[0]


def test_without_any_the_run_begins(tmp_path):
    assert newest_checkpoint(tmp_path / "nothing") is None


def test_when_all_are_damaged_the_run_begins_again_and_says_so(tmp_path):
    write(tmp_path, 1)
    (tmp_path / "step-000000001.safetensors").write_bytes(b"")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[0] == {}
    assert found[1].step == 0
    assert len(found[2]) == 1


def test_tensors_without_their_note_do_not_count(tmp_path):
    write(tmp_path, 1, 2)
    (tmp_path / "step-000000002.json").unlink()  # killed between the two writes
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found[1].step == 1
