"""Who answers: the sections about engines here, servers elsewhere and the routes to them."""

from __future__ import annotations

from typing import Literal

import msgspec

from tokenworks.settings.money import Amount, MeterSettings


class RemoteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server elsewhere that may be asked. Nothing goes there but by a route, and no more than it is cleared for."""

    name: str
    url: str
    shape: str = "openai"  # whose words it speaks: openai | azure | anthropic | bedrock
    key: str = ""
    key_file: str = ""  # or the file that holds it
    key_env: str = ""  # or the environment variable
    model: str = ""  # the name it knows the model by; empty: the one that was asked for
    label: str = "public"  # the highest label of text that may go there
    region: str = "elsewhere"
    price_in: Amount = 0.0  # per million tokens of prompts
    price_cached: Amount | None = None  # of those, what it has already; by default as any
    price_out: Amount = 0.0  # per million tokens of answers
    first_byte_s: float = 60.0  # how long its answer may take to begin
    api_version: str = ""  # where the shape has one: azure, anthropic
    metrics_url: str = ""  # of a vLLM server: its /metrics page, to tell what requests took of it; needs `meter.source`
    meter: MeterSettings = MeterSettings()  # of its host


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the requests for one alias may go, the first choice first. An alias without a route stays here."""

    order: tuple[str, ...] = ("here",)  # `here`: the engines of this site
    when: Literal["fail-over", "burst"] = "fail-over"  # burst: also while too much is under way at the first choice
    busy: int = 16  # so many requests under way at one destination are too much
    by: Literal["order", "weight", "price"] = "order"  # who is asked first, of those that may see the text
    weights: dict[str, float] = {}  # by destination; who has none is asked where nobody with one answers
    price_in: float = 0.0  # what a million tokens of prompts cost on this site's engines
    price_out: float = 0.0  # and of answers


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How models are served."""

    generation: str = "auto"  # auto | openvino | transformers | remote
    precision: str = "auto"  # auto | f32 | bf16 | int8
    threads: int = 0
    start_timeout_s: float = 120.0
    give_up_after: int = 5  # deaths in a row, each within 20 s of its start: refused at once for the next minute
    restart_pause_s: float = 10.0  # before the next start, at most: 0.2 s after the first such death, then doubling
    max_batch: int = 32
    remote_url: str = ""  # an OpenAI-compatible server that may be asked as model "remote"; empty: none, no egress
    remote_key: str = ""
    remote_model: str = ""  # the name it knows the model by
    remote_label: str = "public"  # the highest label of text that may go there
    remote_region: str = "elsewhere"  # where it stands; "here": on machines of your own
    remote_metrics_url: str = ""  # of a vLLM server: its /metrics page; needs `remote_meter.source`
    remote_meter: MeterSettings = MeterSettings()  # of its host
    remotes: tuple[RemoteSettings, ...] = ()
    replicas: int = 1  # processes of each model: one may die, and the others finish what it began
    stall_s: float = 30.0  # a stream that says nothing for so long is finished by another destination
    resume_s: float = 30.0  # how long a broken stream may wait for an engine that finishes it; 0: it ends
    hedge_percent: float = 0.0  # of short requests asked a second time, where the first takes unusually long
