"""The FOCUS export against the specification's own rules for columns: presence, nulls, types and allowed values."""

from __future__ import annotations

import csv
import io
import json
import re
from decimal import Decimal

import pytest

from metering.costs import COSTS
from tokenworks.core.toml import parse_toml
from tokenworks.metering.money.costs_file import CostFile, Sheet
from tokenworks.metering.money.focus import focus_csv, focus_rows
from tokenworks.metering.money.month import month_of
from tokenworks.metering.money.statement import Wanted, statement
from tokenworks.metering.money.sums import add_up

MONTH = month_of("2026-10")
# FOCUS 1.2, specification/columns: every column whose feature level is Mandatory, and whether it may be null.
MANDATORY = {
    "BilledCost": False, "BillingAccountId": False, "BillingAccountName": True, "BillingCurrency": False,
    "BillingPeriodEnd": False, "BillingPeriodStart": False, "ChargeCategory": False, "ChargeClass": True,
    "ChargeDescription": True, "ChargePeriodEnd": False, "ChargePeriodStart": False, "ContractedCost": False,
    "EffectiveCost": False, "InvoiceIssuerName": False, "ListCost": False, "PricingQuantity": True,
    "PricingUnit": True, "ProviderName": False, "PublisherName": False, "ServiceCategory": False, "ServiceName": False,
}  # fmt: skip
OTHERS = {
    "ChargeFrequency": False, "ConsumedQuantity": True, "ConsumedUnit": True, "ResourceId": True, "ResourceName": True,
    "ResourceType": True, "ServiceSubcategory": False, "SubAccountId": True, "SubAccountName": True, "Tags": True,
}  # fmt: skip
DECIMALS = {"BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "PricingQuantity", "ConsumedQuantity"}
INSTANTS = {"BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd"}
VALUES = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeClass": {"", "Correction"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "ServiceCategory": {"AI and Machine Learning"},
    "ServiceSubcategory": {"AI Platforms", "Generative AI", "Machine Learning", "Natural Language Processing"},
}


def faults(rows: list[dict[str, str]]) -> list[str]:
    """Return what of FOCUS 1.2 the rows do not keep."""
    found = []
    for number, row in enumerate(rows):
        found += [f"{number}: {name} is missing" for name in MANDATORY if name not in row]
        for name, value in row.items():
            nullable = {**MANDATORY, **OTHERS}.get(name, name.startswith("x_"))
            if value == "" and not nullable:
                found.append(f"{number}: {name} is null")
            if value and name in DECIMALS and not re.fullmatch(r"-?\d+(\.\d+)?", value):
                found.append(f"{number}: {name} {value!r} is no decimal")
            if value and name in INSTANTS and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value):
                found.append(f"{number}: {name} {value!r} is no instant")
            if name in VALUES and value not in VALUES[name]:
                found.append(f"{number}: {name} {value!r} is not allowed")
            if name not in MANDATORY and name not in OTHERS and not name.startswith("x_"):
                found.append(f"{number}: {name} is neither of the specification nor marked as ours")
        found += _between(number, row)
    return found


def _between(number: int, row: dict[str, str]) -> list[str]:
    """Return what columns of a row do not keep together."""
    rules = {
        "currency has three letters": re.fullmatch("[A-Z]{3}", row["BillingCurrency"]),
        "the charge period has a length": row["ChargePeriodStart"] < row["ChargePeriodEnd"],
        "the charge period lies in the billing period": row["BillingPeriodStart"] <= row["ChargePeriodStart"]
        and row["ChargePeriodEnd"] <= row["BillingPeriodEnd"],
        "usage has a quantity, what is no usage consumes none": bool(row["ConsumedQuantity"])
        == (row["ChargeCategory"] == "Usage"),
        "usage is priced by a quantity": row["PricingQuantity"] or row["ChargeCategory"] != "Usage",
        "a quantity has a unit": bool(row["PricingQuantity"]) == bool(row["PricingUnit"]),
        "without purchases the effective cost is the billed": row["EffectiveCost"] == row["BilledCost"],
        "tags are an object": not row["Tags"] or isinstance(json.loads(row["Tags"]), dict),
    }
    return [f"{number}: {rule}" for rule, kept in rules.items() if not kept]


@pytest.fixture
def exported(request_entry):
    """Make the export of some requests; return its rows and the statement."""

    def make(charge: str = "chargeback", basis: str = "usage"):
        entries = [
            request_entry(price_micro=1500, cost_micro=700, prompt_tokens=10, completion_tokens=5, joules=3.25),
            request_entry(at=MONTH.begin + 86400 * 3, tenant="beta", project="p", face="batch", cost_micro=1),
            request_entry(tenant="", outcome="refused", status=401, model="", version=""),
        ]
        sheet = Sheet(parse_toml(COSTS, CostFile, where="costs.toml"))
        table = add_up(entries, MONTH)
        wanted = Wanted(month=MONTH, currency="EUR", charge=charge, basis=basis)
        found = statement(table, wanted, now=MONTH.end, ledger={}, sheet=sheet)
        text = focus_csv(focus_rows(found, table, begin=MONTH.begin, end=MONTH.end, issuer="The House"))
        return list(csv.DictReader(io.StringIO(text))), found

    return make


@pytest.mark.parametrize(("charge", "basis"), [("chargeback", "usage"), ("showback", "allocation")])
def test_the_rows_keep_what_the_specification_says_of_columns(exported, charge, basis):
    rows, _ = exported(charge, basis)
    assert len(rows) >= 3
    assert faults(rows) == []


def test_the_checks_find_what_is_wrong(exported):
    rows, _ = exported()
    wrong = {**rows[0], "BilledCost": "1,5", "ServiceName": "", "ChargePeriodStart": "2026-10-01", "Cost": "1"}
    del wrong["ListCost"]
    told = " ".join(faults([wrong]))
    for part in (
        "BilledCost '1,5'",
        "ServiceName is null",
        "ChargePeriodStart",
        "Cost is neither",
        "ListCost is missing",
    ):
        assert part in told


def test_the_rows_add_up_to_the_statement(exported):
    rows, found = exported("chargeback")
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(found.price_micro) / 1_000_000
    rows, found = exported("showback", "allocation")
    borne = found.machines.total_micro + found.elsewhere_micro
    assert sum(Decimal(row["BilledCost"]) for row in rows) == Decimal(borne) / 1_000_000
    assert {row["ChargeDescription"] for row in rows if row["ChargeCategory"] == "Adjustment"} == {
        "Share of machines that stood idle"
    }


def test_a_row_says_who_what_and_how_much(exported):
    rows, _ = exported()
    row = next(row for row in rows if row["BillingAccountId"] == "acme")
    assert row["BilledCost"] == "0.001500"
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == ("15", "Tokens")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == ("2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z")
    assert (row["ResourceId"], row["x_HouseCost"], row["x_Joules"]) == ("complete", "0.000700", "3.250000")
    batch = next(row for row in rows if row["SubAccountId"] == "p")
    assert json.loads(batch["Tags"]) == {"face": "batch"}
    assert any(row["BillingAccountId"] == "unidentified" for row in rows)
