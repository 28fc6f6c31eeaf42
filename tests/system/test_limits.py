"""A budget set by the command holds in the served process, through a kill -9, and is what `limit list` reports."""

import json

import openai
import pytest

from system.processes import Running, tokenworks

pytestmark = pytest.mark.xdist_group("limits")


def test_a_budget_holds_through_a_kill_and_is_what_is_reported(make_llama, tmp_path):
    home, folder = tmp_path / "home", make_llama()
    model = folder.name
    running = Running(home, "serve", "--model", str(folder))
    try:
        running.until(r"Try it|" + model)
        done = tokenworks(home, "limit", "set", "--tenant", "default", "--tokens-per-day", "400")
        assert done.returncode == 0, done.stderr
        before = spend(running, model)
        assert 0 < before <= 400
        assert reported(home) == before
        end(running)
        running = Running(home, "serve")
        running.until(r"Try it|" + model)
        assert spend(running, model) == 0
        assert reported(home) == before
    finally:
        end(running)


def end(running):
    running.kill()
    running.process.stdout.close()


def spend(running, model):
    """Ask until the budget is refused; return the tokens that were answered."""
    client, told = openai.OpenAI(base_url=f"{running.url}/v1", api_key=running.key, max_retries=3), 0
    code = ""
    while code != "insufficient_quota":
        try:
            answer = client.completions.create(model=model, prompt="def parse(", max_tokens=30)
            told += answer.usage.total_tokens
        except openai.RateLimitError as refused:
            code = refused.code
    return told


def reported(home):
    (shown,) = json.loads(tokenworks(home, "--json", "limit", "list").stdout)
    return shown["spent_today"]
