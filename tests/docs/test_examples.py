"""What a page shows to be copied can be used: TOML loads, Python compiles and finds its imports, JSON parses."""

import ast
import importlib
import tomllib

import msgspec
import pytest

from pages import HOW_TO, blocks
from tokenworks.core.task import Task
from tokenworks.core.toml import convert
from tokenworks.governance.policy.cases import CaseFile
from tokenworks.governance.policy.engine import Policies
from tokenworks.metering.money.costs_file import CostFile
from tokenworks.planning.claims.claim import Claim
from tokenworks.planning.workload import Workload
from tokenworks.settings import Settings

HEAD = {"task": {"name": "example", "kind": "chat", "owner": "mailto:owner@example.org"}}
KINDS = {  # what a fence says -> what its text must load as, and what a piece of it leaves out
    "toml": (Settings, {}),
    "toml task": (Task, HEAD),
    "toml costs": (CostFile, {"as_of": "2026-10-01", "source": "an example", "currency": "EUR"}),
    "toml plan": (Workload, {}),
    "toml claim": (Claim, {}),
    "toml cases": (CaseFile, {}),
}
SHOWN = [block for page in HOW_TO for block in blocks(page)]


def named(start):
    """Return the blocks whose fence begins with `start`, as parameters."""
    return [pytest.param(block, id=block.where) for block in SHOWN if block.kind.split(" ")[0] == start]


@pytest.mark.parametrize("block", named("toml"))
def test_every_toml_block_loads_as_what_its_fence_says(block):
    assert block.kind in KINDS, f"{block.where}: mark it as one of {', '.join(KINDS)}"
    into, left_out = KINDS[block.kind]
    convert({**left_out, **tomllib.loads(block.text)}, into, where=block.where, text=block.text)


@pytest.mark.parametrize("block", named("python"))
def test_every_python_block_compiles_and_imports_what_exists(block):
    lines = block.text.splitlines()
    session = [line[4:] for line in lines if line.startswith((">>> ", "... "))]  # of a prompt, what was typed
    tree = compile("\n".join(session or lines), block.where, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tokenworks"):
            module = importlib.import_module(node.module)
            assert not [name.name for name in node.names if not hasattr(module, name.name)], block.where


@pytest.mark.parametrize("block", named("cedar"))
def test_every_policy_fits_the_schema(block):
    assert len(Policies({"example.cedar": block.text}).ids) > len(Policies().ids)


@pytest.mark.parametrize("block", named("json"))
def test_every_json_block_parses(block):
    msgspec.json.decode(block.text)
