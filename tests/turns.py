"""Who runs what, and when, under `pytest -n`: a pytest plugin that knows which tests take long, not what they test.

A file stays with one worker, for what its module sets up is set up once; an `xdist_group` in the `pytestmark` of
several binds files that must not run beside each other. What takes longest begins first, so that no worker is left
alone with it at the end. xdist 3.8 writes groups into node ids in a way that pytest 9.2 no longer reads, so that all
of them fell apart: here they are read from the files.
"""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path

import pytest

# Files and groups above ten seconds, and how long each took in a run on two cores: that order counts, not the figures.
# Those of the last block are by their number of servers, not measured one by one. What is not named comes after them.
LONG_S = {
    "up": 240,
    "kill": 207,
    "flywheel": 169,
    "tests/factory/test_turning.py": 109,
    "tests/factory/tuning/test_jobs.py": 67,
    "tests/line/train/test_classify.py": 43,
    "tests/line/evaluate/test_gains.py": 33,
    "tests/system/test_releasing.py": 28,
    "tests/factory/test_plant.py": 26,
    "hosts": 23,
    "tests/cli/test_release.py": 19,
    "tests/line/ingest/test_stage.py": 18,
    "limits": 18,
    "tests/factory/test_factory.py": 17,
    "tests/ledger/test_lookup.py": 12,
    "tests/cli/test_cli.py": 11,
    "tests/cli/test_limit.py": 11,
    "tests/factory/tuning/test_conformance.py": 11,
    "conformance": 90,
    "compiled": 70,
    "chaos": 80,
    "identity": 40,
    "workers": 40,
    "telemetry": 20,
    "sovereignty": 20,
    "tests/factory/faces/test_batches.py": 20,
}


def pytest_configure(config: pytest.Config) -> None:
    """Let every process that a test starts find our modules compiled.

    Where nothing may be written beside the sources, each of some hundred processes would compile them anew.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def unit_of(nodeid: str, root: Path) -> str:
    """Return what a test runs together with: the group of its file, or its file."""
    name = nodeid.split("::", 1)[0]
    return group_of(root / name) or name


@cache
def group_of(path: Path) -> str:
    """Return the group that the file's `pytestmark` names, empty where there is none."""
    found = re.search(r'^pytestmark = .*xdist_group\("([^"]+)"\)', path.read_text(), re.MULTILINE)
    return found[1] if found else ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a worker, put the longest units first."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -LONG_S.get(unit_of(item.nodeid, config.rootpath), 0))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Hand out whole units, in the order of collection, for `--dist loadgroup`."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadGroupScheduling  # only where xdist runs

    class Units(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid, config.rootpath)

    config.option.loadscopereorder = False  # by number of tests, it would be
    return Units(config, log)
