"""One true and one false claim about a real server of this machine."""

from __future__ import annotations

import json

import pytest

from system.processes import Running, tokenworks

CLAIM = """
name = "{name}"
by = "ACME"
[claim]
tokens_per_s = {tokens_per_s}
latency_p95_s = 100
[conditions]
model = "tiny"
concurrency = 4
prompt_tokens = 24
answer_tokens = 24
[run]
{run}
[rule]
interval = 0.5
rounds = [4, 6]
"""


@pytest.fixture(scope="module")
def serving(tmp_path_factory, tiny_llama):
    pytest.importorskip("openvino_genai", reason="the extra 'generate' is not installed")
    home = tmp_path_factory.mktemp("claims") / "home"
    running = Running(home, "serve", "--model", str(tiny_llama))
    yield running, tiny_llama.name
    running.stop()


def checked(folder, **fields):
    path = folder / "claim.toml"
    path.write_text(CLAIM.format(**fields))
    return tokenworks(folder / "home", "claim", "check", str(path), "--out", str(folder / "report.md"), "--json")


def test_a_true_and_a_false_claim_about_a_running_server_get_the_right_verdicts(serving, tmp_path):
    running, model = serving
    (tmp_path / "key").write_text(running.key)
    run = f'address = "{running.url}"\nserved_as = "{model.lower()}"\nkey_file = "{tmp_path / "key"}"'
    true = checked(tmp_path, name="modest", tokens_per_s=1, run=run)
    assert true.returncode == 0, true.stderr + true.stdout
    report = json.loads(true.stdout)
    assert report["verdict"] == "confirmed"
    assert report["seen_prompt_tokens"] == pytest.approx(24, rel=0.1)
    assert report["seen_answer_tokens"] == 24
    false = checked(tmp_path, name="boastful", tokens_per_s=10_000_000, run=run)
    assert false.returncode == 1, false.stderr + false.stdout
    assert json.loads(false.stdout)["verdict"] == "not confirmed"
    assert (tmp_path / "report.md").read_text().startswith("# boastful: not confirmed\n\nClaimed by ACME.")
