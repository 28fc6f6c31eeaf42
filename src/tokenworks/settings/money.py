"""What answers take and cost: the sections about prices, meters, costs and waiting for cheaper hours."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]  # infinity is not one


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True):
    """What a million tokens of a model cost, in units of the currency."""

    input: Amount = 0.0
    cached: Amount | None = None  # of the prompt, where the engine had it already; by default as any
    output: Amount = 0.0
    thinking: Amount | None = None  # of the answer, what was thought and not said; by default as output


class PriceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The price list, by which each request's entry says what it cost. Without one nothing costs anything."""

    currency: str = "EUR"
    batch_share: Amount = 0.5  # of the price, for lines of batches
    tenants: dict[str, dict[str, ModelPrice]] = {}  # price lists of their own, before everybody's
    models: dict[str, ModelPrice] = {}  # by model; `*`: every other


class MeterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the energy of this machine is metered. Without a source, requests get engine seconds and no joules."""

    source: str = "none"  # nvml | rapl | wall | prometheus | model | none; "rapl+nvml" adds them up
    interval_s: float = 1.0  # between two readings
    entry_s: float = 60.0  # between two entries on the ledger
    url: str = ""  # of the wall meter's answer, or of the Prometheus server
    field: str = ""  # where the figure stands in the wall meter's JSON: emeters.0.total
    query: str = ""  # PromQL with one series for each thing that is metered
    unit: str = "Wh"  # of that figure: J | kJ | Wh | kWh are counters, mW | W | kW are samples of power
    header: str = ""  # sent with each question: "authorization: Bearer ..."
    idle_w: float = 0.0  # of this machine with nothing to do; 0: as calibrated
    busy_w: float = 0.0  # with every core at work; 0: as calibrated
    error: float = 0.0  # standard uncertainty of the source, as a share; 0: the usual one of its kind
    most_w: float = 20_000.0  # a counter that runs faster than this has not counted energy
    powercap: str = "/sys/class/powercap"


class CostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What work costs the house. The figures stand in a file of their own, since they are dated."""

    file: str = ""  # by default `costs.toml` in the home, where there is one
    node: str = ""  # which of its nodes this machine is; empty: the only one
    shown: Literal["all", "price", "nothing"] = "all"  # what callers are told of their answers' price, cost and joules


class DeferralSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When work begins that nobody waits for: batches, fine-tuning jobs, turns. Never anything else."""

    by: Literal["nothing", "tariff_aware", "carbon_aware"] = "nothing"
    jobs_within_h: Amount = 12.0  # a fine-tuning job begins at the latest so long after it was asked for
    turns_within_h: Amount = 24.0  # the same for a turn
    batches_within_h: Amount = 12.0  # the same for a batch, of the 24 hours that it has
    length_h: Amount = 2.0  # how long a piece of work is expected to take
    gain: Amount = 0.05  # as a share: for less it is not worth waiting


class ReasoningSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How much long thinking may cost by default, where a model was measured."""

    worth: Amount = 20.0  # what one more right answer is worth, in answers of one sample: decides what pays
