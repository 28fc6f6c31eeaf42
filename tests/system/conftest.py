"""What the system tests share."""

import pytest

from system.processes import Running, write_tasks


@pytest.fixture(scope="module")
def factory_running(tmp_path_factory):
    """`tokenworks up` over the small tasks, after the line has ended."""
    folder = tmp_path_factory.mktemp("up")
    files = write_tasks(folder)
    running = Running(folder / "home", "up", "--task", str(files[0]), "--task", str(files[1]))
    running.folder = folder
    running.until(r"Try it")
    yield running
    running.stop()
