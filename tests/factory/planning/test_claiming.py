"""What a round comes to, and prompts of one's own."""

from __future__ import annotations

import pytest

from tokenworks.core.errors import ConfigError, DataError
from tokenworks.factory.planning.asking import Answered
from tokenworks.factory.planning.claiming import _own_prompts, as_seen, figures
from tokenworks.planning.claims.claim import Claim, Conditions, Figures, Run

RUN = Run(address="http://127.0.0.1:1")


def answered(asked, ttft, latency, tokens=11, joules=None):
    return Answered(
        asked_s=asked, ttft_s=ttft, latency_s=latency, prompt_tokens=5, answer_tokens=tokens, joules=joules
    )  # fmt: skip


def test_the_figures_of_a_round_can_be_worked_out_by_hand():
    found = figures([answered(1.0, 0.5, 1.5), answered(1.5, 0.5, 2.5)], RUN)
    assert found["tokens_per_s"] == pytest.approx(22 / 3.0)
    assert found["ttft_p95_s"] == 0.5
    assert found["tpot_p95_s"] == pytest.approx(0.1 + 0.95 * 0.1)
    assert "joules_per_token" not in found
    assert "usd_per_million" not in found


def test_joules_count_only_where_every_answer_has_them():
    assert "joules_per_token" not in figures([answered(0, 1, 2, joules=2.0), answered(0, 1, 2)], RUN)
    assert figures([answered(0, 1, 2, joules=2.2)] * 2, RUN)["joules_per_token"] == pytest.approx(0.2)


def test_a_price_is_what_the_machines_cost_over_what_they_made():
    run = Run(address="http://127.0.0.1:1", usd_per_hour=3.6)
    assert figures([answered(0, 1, 1, tokens=1000)], run)["usd_per_million"] == pytest.approx(1.0)


def test_what_the_server_counted_is_what_was_tried():
    claim = Claim(
        name="n",
        claim=Figures(tokens_per_s=1),
        conditions=Conditions(model="m", concurrency=1, prompt_tokens=100, answer_tokens=10),
        run=RUN,
    )
    assert as_seen(claim, (104.0, 10.0)).differences == []
    assert as_seen(claim, (150.0, 10.0)).differences == ["prompt_tokens"]


@pytest.mark.parametrize(
    ("text", "said"), [('{"prompt": 1}', 'line 1: no "prompt"'), ("nonsense", "line 1: not JSON"), ("\n", "no prompts")]
)
def test_prompts_that_cannot_be_asked_are_named(tmp_path, text, said):
    (tmp_path / "p.jsonl").write_text(text)
    with pytest.raises(DataError, match=said):
        _own_prompts(tmp_path / "p.jsonl")


def test_prompts_that_are_not_there_are_a_wrong_setting(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        _own_prompts(tmp_path / "none.jsonl")
