"""The month as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification: one for each day, tenant and model.

Columns, nulls, values and formats: FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, tag v1.2, `specification/columns`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec

from tokenworks.metering.money.shown import money
from tokenworks.metering.money.statement import Statement
from tokenworks.metering.money.sums import Sums, Table

VERSION = "1.2"
DAY_H, HOUR_S = 24, 3600
NOBODY = "unidentified"  # who asked without a key that is known; an account must have a name
COLUMNS = (
    *("BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd"),
    *("BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency"),
    *("ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost"),
    *("InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName"),
    *("ResourceId", "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "ServiceSubcategory"),
    *("SubAccountId", "SubAccountName", "Tags"),
    *("x_Requests", "x_InputTokens", "x_CachedTokens", "x_OutputTokens", "x_EngineSeconds", "x_Joules", "x_HouseCost"),
)
Row = dict[str, str]


def focus_rows(found: Statement, table: Table, *, begin: float, end: float, issuer: str) -> Iterator[Row]:
    """Yield the rows of a month that begins and ends at these Unix times; a null is an empty string.

    Charges are prices in a chargeback and costs in a showback. Of a showback by allocation each tenant's part of idle
    time is a row of its own: an adjustment, which has no quantity.
    """
    common = {
        "BillingCurrency": found.currency,
        "BillingPeriodStart": instant(begin),
        "BillingPeriodEnd": instant(end),
        "ChargeClass": "",
        "ChargeFrequency": "Usage-Based",
        "InvoiceIssuerName": issuer,
        "ProviderName": issuer,
        "PublisherName": issuer,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "ServiceName": "Tokens",
    }
    for (day, *names), sums in _by_day(table, found.tenant).items():
        yield {**dict.fromkeys(COLUMNS, ""), **common, **_usage(day, names, sums, found.charge)}
    if found.charge == "showback":
        for one in found.tenants:
            if one.idle_micro:
                period = {"ChargePeriodStart": instant(begin), "ChargePeriodEnd": instant(end)}
                idle = {"ChargeCategory": "Adjustment", "ChargeDescription": "Share of machines that stood idle"}
                account = _account(one.tenant)
                yield {**dict.fromkeys(COLUMNS, ""), **common, **period, **idle, **account, **_costs(one.idle_micro)}


def focus_csv(rows: Iterator[Row]) -> str:
    """Return the rows as CSV with the columns in the order of the specification."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def instant(at: float) -> str:
    """Return a Unix time as FOCUS writes it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _by_day(table: Table, tenant: str) -> dict[tuple[int, str, str, str, str, str], Sums]:
    days: dict[tuple[int, str, str, str, str, str], Sums] = {}
    for key, sums in table.items():
        if tenant in ("", key.tenant):
            group = (key.hour // DAY_H, key.tenant, key.project, key.model, key.face, key.place)
            days[group] = days.get(group, Sums()).plus(sums)
    return dict(sorted(days.items()))


def _usage(day: int, names: list[str], sums: Sums, charge: str) -> Row:
    tenant, project, model, face, place = names
    tokens = str(sums.input_tokens + sums.output_tokens)
    tags = {name: value for name, value in (("face", face), ("place", place)) if value}
    return {
        **_account(tenant),
        **_costs(sums.price_micro if charge == "chargeback" else sums.cost_micro),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"Tokens of {model or 'no model'}",
        "ChargePeriodStart": instant(day * DAY_H * HOUR_S),
        "ChargePeriodEnd": instant((day + 1) * DAY_H * HOUR_S),
        "ConsumedQuantity": tokens,
        "ConsumedUnit": "Tokens",
        "PricingQuantity": tokens,
        "PricingUnit": "Tokens",
        "ResourceId": model,
        "ResourceName": model,
        "ResourceType": "Model" if model else "",
        "SubAccountId": project,
        "SubAccountName": project,
        "Tags": msgspec.json.encode(tags).decode(),
        "x_Requests": str(sums.requests),
        "x_InputTokens": str(sums.input_tokens),
        "x_CachedTokens": str(sums.cached_tokens),
        "x_OutputTokens": str(sums.output_tokens),
        "x_EngineSeconds": money(sums.engine_us),
        "x_Joules": money(sums.joules_micro) if sums.metered else "",
        "x_HouseCost": money(sums.cost_micro),
    }


def _account(tenant: str) -> Row:
    return {"BillingAccountId": tenant or NOBODY, "BillingAccountName": tenant}


def _costs(micro: int) -> Row:
    return dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), money(micro))
