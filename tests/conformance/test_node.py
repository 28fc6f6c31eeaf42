"""The official clients for Node: their checks lie in node/, and each of them is a test here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conformance.installed import installed

pytestmark = [pytest.mark.xdist_group("conformance"), pytest.mark.timeout(180)]
HERE = Path(__file__).parent / "node"
CHECK = re.compile(r'^check\("([^"]+)", "([^"]+)"', re.M)


def checks():
    """Yield a parameter for each check that stands in a file."""
    for client in ("openai", "anthropic"):
        for endpoint, name in CHECK.findall((HERE / f"{client}.mjs").read_text()):
            id = f"{client}-{name.replace(' ', '-')}"
            yield pytest.param(f"{client}-node", name, id=id, marks=pytest.mark.conforms(endpoint))


@pytest.fixture(scope="module")
def told(served, tmp_path_factory):
    """What each check of each file came to: nothing where it held, else why not."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not here; install Node 20 or newer to check its clients")
    folder = installed(HERE)
    environment = {
        **os.environ,
        "BASE_URL": served.url,
        "API_KEY": served.key,
        "NARROW_KEY": served.new_key("narrow", scopes=["search"]),
        "LIMITED_KEY": served.key_of("node-one-at-a-time", concurrency=1),
        "WRITER": served.writer,
        "EMBEDDER": served.embedder,
    }
    found = {}
    for client in ("openai", "anthropic"):
        ran = subprocess.run(
            ["node", f"{client}.mjs"], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        for line in map(json.loads, ran.stdout.splitlines()):
            found[f"{client}-node", line["name"]] = line["error"]
    return found


@pytest.mark.parametrize(("client", "name"), list(checks()))
def test_a_check_of_the_node_client_holds(told, client, name):
    assert told[client, name] == ""
