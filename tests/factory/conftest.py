"""A home with a task that is learnt in seconds."""

import msgspec
import pytest

from factory.banking import TASK, write_rows
from tokenworks.core.task import read_task
from tokenworks.factory import Factory
from tokenworks.settings import Settings


@pytest.fixture
def bank(tmp_path, tiny_bert):
    """Return a function that writes the task file and returns the task."""

    def write(rows, *, autonomy="promote", owner="mailto:bank@example.org"):
        write_rows(tmp_path / "examples.jsonl", rows)
        text = TASK.format(base=tiny_bert, autonomy=autonomy).replace("mailto:bank@example.org", owner)
        (tmp_path / "bank.toml").write_text(text)
        return read_task(tmp_path / "bank.toml")

    return write


@pytest.fixture
def factory(tmp_path):
    settings = msgspec.convert(
        {"home": str(tmp_path / "home"), "server": {"port": 0}, "flywheel": {"look_s": 0}}, Settings
    )
    with Factory(settings) as made:
        yield made
