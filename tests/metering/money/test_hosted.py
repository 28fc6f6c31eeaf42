"""The comparison with hosted models: the library's own prices, in the statement's currency."""

from __future__ import annotations

import pytest

from metering.costs import COSTS
from tokenworks.core.errors import ConfigError
from tokenworks.metering.money.hosted import HostedPrices
from tokenworks.metering.money.month import month_of
from tokenworks.metering.money.sums import Sums

genai_prices = pytest.importorskip("genai_prices", reason="the extra 'prices' is not installed")
MONTH = month_of("2026-10")
COMPARE = '\n[compare]\ncomplete = "openai:gpt-5-mini"\n[[rates]]\ncurrency = "USD"\nsince = 2026-01-01\nrate = 0.5\n'


def test_a_line_is_priced_as_so_many_mean_requests(sheet):
    prices = HostedPrices(sheet(COSTS + COMPARE), MONTH, into="EUR")
    sums = Sums(requests=1000, input_tokens=2_000_000, cached_tokens=500_000, output_tokens=300_000)
    usage = genai_prices.Usage(input_tokens=2000, cache_read_tokens=500, output_tokens=300)
    each = genai_prices.calc_price(usage, model_ref="gpt-5-mini", provider_id="openai").total_price
    assert prices("complete", sums) == pytest.approx(float(each) * 1000 * 0.5 * 1e6, abs=1)
    assert prices("other", sums) is None
    assert prices("complete", Sums()) == 0


def test_a_hosted_model_that_nobody_prices_is_named_at_once(sheet):
    with pytest.raises(ConfigError, match=r"compare 'complete': 'openai:nothing'.*write provider:model"):
        HostedPrices(sheet(COSTS + COMPARE.replace("gpt-5-mini", "nothing")), MONTH, into="EUR")


def test_dollars_need_a_rate(sheet):
    with pytest.raises(ConfigError, match="what USD is worth in EUR"):
        HostedPrices(sheet(COSTS + COMPARE.partition("[[rates]]")[0]), MONTH, into="EUR")
