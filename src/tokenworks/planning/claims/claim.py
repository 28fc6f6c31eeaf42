"""What somebody claims, under which conditions, and under which it is to be tried here. One TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import read_toml

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e15)]  # whatever is infinite is always reached, or never
Some = Annotated[int, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
AT_LEAST = ("tokens_per_s",)
AT_MOST = ("ttft_p95_s", "tpot_p95_s", "latency_p95_s", "joules_per_token", "usd_per_million")
NEEDED = ("model", "concurrency", "prompt_tokens", "answer_tokens")
SAME = 0.1  # lengths and concurrency that differ by less count as the same


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What is claimed: tokens per second at least, everything else at most. None: nothing is."""

    tokens_per_s: Positive | None = None  # of answers, all requests together
    ttft_p95_s: Positive | None = None
    tpot_p95_s: Positive | None = None
    latency_p95_s: Positive | None = None
    joules_per_token: Positive | None = None  # of answers
    usd_per_million: Positive | None = None  # of answer tokens

    @property
    def claimed(self) -> dict[str, float]:
        """Return the claimed figures by name."""
        return {name: value for name in (*AT_LEAST, *AT_MOST) if (value := getattr(self, name)) is not None}


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Under which a figure holds. Empty: not stated."""

    model: str = ""
    machine: str = ""
    devices: Some = 0
    precision: str = ""
    engine: str = ""
    concurrency: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


class Run(Conditions, frozen=True, kw_only=True):
    """Whom to ask and how. What is not given of the conditions is as the claim states them."""

    address: str = ""  # of an OpenAI-compatible server
    served_as: str = ""  # the name it knows the model by
    key_file: str = ""
    folder: str = ""  # or the folder of a model, for the embedded engine of this machine
    prompts: str = ""  # JSON lines with a "prompt" each: your own workload; empty: texts of the stated length
    exact: bool = True  # the server knows ignore_eos
    usd_per_hour: Positive | None = None  # what the machines cost you, for a claim about price
    metered: bool = False  # the wall or prometheus meter that is configured here stands before the machine at `address`


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """When it has been measured enough, and how near is near."""

    interval: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.05  # half width of the 95 % interval, as a share
    tolerance: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.05  # by which a claim may be missed and still hold
    rounds: tuple[Count, Count] = (4, 20)  # at least and at most
    requests_per_round: Some = 0  # 0: twice the concurrency
    most_s: Positive = 600.0
    idle_s: Positive = 5.0  # the machine is left alone before and after, where its meter is read


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    name: str
    by: str = ""
    source: str = ""  # where it was said: a page, a date
    claim: Figures
    conditions: Conditions
    run: Run
    rule: Rule = Rule()

    @property
    def tried(self) -> Conditions:
        """Return the conditions of the run: its own, and where it names none, those stated."""
        fields = [field.name for field in msgspec.structs.fields(Conditions)]
        return Conditions(**{name: getattr(self.run, name) or getattr(self.conditions, name) for name in fields})

    @property
    def differences(self) -> list[str]:
        """Return the conditions in which the run is another than the claim."""
        found = []
        for field in msgspec.structs.fields(Conditions):
            stated, ours = getattr(self.conditions, field.name), getattr(self.tried, field.name)
            if not stated or stated == ours:
                continue
            numbers = isinstance(stated, int) and field.name != "devices"
            if not (numbers and abs(ours / stated - 1) <= SAME):
                found.append(field.name)
        return found


def read_claim(path: Path) -> Claim:
    """Return the claim in `path`; raise `ConfigError` naming everything that is missing for a fair trial."""
    found = read_toml(path, Claim)
    if not found.claim.claimed:
        raise ConfigError(f"{path}: [claim] has no figure; give one of: {', '.join((*AT_LEAST, *AT_MOST))}")
    if missing := [name for name in NEEDED if not getattr(found.conditions, name)]:
        raise ConfigError(
            f"{path}: [conditions] lacks {', '.join(missing)}; a figure without them can be neither right nor wrong: "
            "ask whoever claims it"
        )
    if negative := [
        name for name in ("concurrency", "prompt_tokens", "answer_tokens") if getattr(found.tried, name) < 1
    ]:
        raise ConfigError(f"{path}: {', '.join(negative)}: give at least 1")
    if bool(found.run.address) == bool(found.run.folder):
        raise ConfigError(f"{path}: [run] needs either an address to ask or the folder of a model to serve here")
    if found.rule.rounds[0] > found.rule.rounds[1] or found.rule.rounds[0] < 2:
        raise ConfigError(f"{path}: rule.rounds: give the least, 2 or more, and the most")
    return found
