"""Everything an operator may turn, from `tokenworks.toml` and the environment. The only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import convert, read_toml

PREFIX = "TOKENWORKS_"
Amount = Annotated[float, msgspec.Meta(ge=0)]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens and what it accepts."""

    host: str = "127.0.0.1"
    port: int = 8765
    max_body_mb: float = 16.0
    max_in_flight: int = 1024
    drain_s: float = 10.0
    background: bool = True  # turns, jobs, eval runs and batches are worked on here: one host of those over a catalog


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How limits and budgets are kept. What they are, `tokenworks limit` says."""

    wait_s: float = 30.0  # how long a request waits for room that those under way may still leave
    answer_tokens: int = 1024  # the most of a chat answer whose caller set no bound and has a limit
    shared: str = ""  # redis://host:6379/0 where several hosts share limits; empty: this host counts for itself


class AdmissionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whose turn it is at an engine, and how long it is waited for."""

    slots: int = 0  # requests that an engine works on at a time; 0: engines.max_batch
    deadline_s: float = 600.0  # for which answers are planned whose callers say no other
    deadlines_s: dict[str, float] = {}  # the same, by model


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


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where things are kept. Empty values mean: below the home."""

    catalog: str = ""  # SQLAlchemy URL: sqlite:///..., postgresql+psycopg://...
    artifacts: str = ""  # a folder, or s3://bucket/prefix
    s3_endpoint: str = ""


class LedgerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the log is written."""

    segment_mb: int = 16
    keep_bodies: bool = True  # prompts and answers beside the log: corrections need them
    keep_days: float = 0.0  # older ones are dropped, at the latest a day later; 0: kept for ever
    keep: dict[str, float] = {}  # days by label, before `keep_days`: restricted = 30


class LineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the line may use of this machine."""

    threads: int = 0  # 0: every core that this process may run on
    processes: int = 0  # ingest workers; 0: as many as threads
    memory_mb: int = 1024  # bound of one ingest worker
    watch_s: float = 60.0  # how often a server looks whether documents changed; 0: never


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
    price_in: float = 0.0  # per million tokens of prompts
    price_out: float = 0.0  # per million tokens of answers
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


class FlywheelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server keeps its tasks turning."""

    look_s: float = 5.0  # how often it looks what tasks ask for; 0: turns are run by hand
    gives_way: bool = True  # a turn gets only the time that nobody else wants; false: its fair share


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What callers may send and have done: files, fine-tuning jobs, evals."""

    max_file_mb: float = 512.0
    job_budget: str = "10m"  # of training, where a job says no number of epochs
    job_niceness: int = 10  # of a job's process, 0 to 19: how far training gives way to whoever answers
    eval_concurrency: int = 4  # items of one eval run that are asked at the same time
    batch_concurrency: int = 16  # lines of one batch that are asked at the same time, while nobody else asks
    background_concurrency: int = 16  # responses with `background: true` that are asked at the same time


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is told to others about the work; never a text or a key."""

    otlp_endpoint: str = ""  # an OpenTelemetry collector, http://host:4318; empty: no traces
    otlp_headers: str = ""  # sent to it: "name=value,name=value"
    service: str = "tokenworks"  # how this server is called there
    sample: float = 1.0  # share of the requests that bring no trace of their own
    log: str = "text"  # on standard error: text | json


class RoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A role of this house's own, `[identity.roles.NAME]`."""

    scopes: tuple[str, ...] = ()
    clearance: str = "internal"


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who vouches for people. Without an issuer nobody signs in, and nothing is asked."""

    issuer: str = ""  # https://..., as it stands in its tokens
    audience: str = ""  # whom its tokens must be meant for: the client id, or the name of this API
    person_claim: str = "sub"  # what names somebody for good
    groups_claim: str = "groups"  # a list of names, or names with spaces between; a.b.c looks inside
    roles: dict[str, str] = {}  # group -> role
    tenants: dict[str, str] = {}  # group -> tenant
    tenant: str = "default"  # of whoever is in none of those groups; empty: they are refused
    leeway_s: float = 30.0  # how far its clock may be off
    keys_s: float = 300.0  # how long its keys are believed before they are asked for again
    keys_kept_s: float = 86400.0  # how long they count while it cannot be reached
    timeout_s: float = 5.0
    ca_file: str = ""  # certificates to believe it by, where not the system's


class IdentitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who may ask."""

    roles: dict[str, RoleSettings] = {}
    oidc: OidcSettings = OidcSettings()


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


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is done beside the policies, which stand in `policies/` of the home."""

    detect: str = "off"  # off | raise: whether secrets and personal data in a prompt raise its label


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration, typed. Every field has a default that works on a bare machine."""

    home: str = "~/.tokenworks"
    server: ServerSettings = ServerSettings()
    limits: LimitSettings = LimitSettings()
    identity: IdentitySettings = IdentitySettings()
    admission: AdmissionSettings = AdmissionSettings()
    prices: PriceSettings = PriceSettings()
    meter: MeterSettings = MeterSettings()
    store: StoreSettings = StoreSettings()
    ledger: LedgerSettings = LedgerSettings()
    line: LineSettings = LineSettings()
    engines: EngineSettings = EngineSettings()
    flywheel: FlywheelSettings = FlywheelSettings()
    platform: PlatformSettings = PlatformSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    costs: CostSettings = CostSettings()
    deferral: DeferralSettings = DeferralSettings()
    policy: PolicySettings = PolicySettings()
    routes: dict[str, RouteSettings] = {}  # by alias
    reasoning: ReasoningSettings = ReasoningSettings()

    @property
    def home_path(self) -> Path:
        """The folder in which everything is kept."""
        return Path(self.home).expanduser().resolve()

    @property
    def catalog_url(self) -> str:
        """The SQLAlchemy URL of the catalog."""
        return self.store.catalog or f"sqlite:///{self.home_path / 'catalog.db'}"

    @property
    def artifacts_url(self) -> str:
        """The folder or S3 URL of the artifacts."""
        return self.store.artifacts or str(self.home_path / "artifacts")

    @property
    def threads(self) -> int:
        """Cores that compute may use."""
        return self.line.threads or len(os.sched_getaffinity(0))


def load_settings(
    file: Path | None = None, *, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Settings:
    """Return defaults, overlaid by `file`, the environment and `home`, in rising order.

    Without `file`, `tokenworks.toml` in the working folder is read if there is one. Environment variables are
    named after the keys: `TOKENWORKS_SERVER__PORT=9000`. Raises `ConfigError` naming the key and the way out.
    """
    environ = os.environ if environ is None else environ
    file = file or _default_file(environ)
    settings = read_toml(file, Settings) if file else Settings()
    overlay = _from_environment(environ)
    if home is not None:
        overlay["home"] = str(home)
    if not overlay:
        return settings
    merged = _merge(msgspec.to_builtins(settings), overlay)
    return convert(merged, Settings, where="environment")


def notify_socket(environ: Mapping[str, str] | None = None) -> str:
    """Return where systemd wants to be told how this service is; empty where nobody does."""
    return (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")


def child_environment(more: Mapping[str, str], *, environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the environment of a process that we start: ours, and `more`."""
    return {**(os.environ if environ is None else environ), **more}


def remote_key(remote: RemoteSettings, *, environ: Mapping[str, str] | None = None) -> str:
    """Return the key that `remote` is asked with; raise `ConfigError` where it is named twice or not to be found."""
    where = f"engines.remotes {remote.name!r}"
    if sum(map(bool, (remote.key, remote.key_file, remote.key_env))) > 1:
        raise ConfigError(f"{where}: give one of key, key_file and key_env")
    if remote.key_env:
        environ = os.environ if environ is None else environ
        if not environ.get(remote.key_env):
            raise ConfigError(f"{where}: the environment variable {remote.key_env} (key_env) is not set")
        return environ[remote.key_env]
    if remote.key_file:
        try:
            return Path(remote.key_file).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}: key_file {remote.key_file} cannot be read: {error}") from None
    return remote.key


def _default_file(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(PREFIX + "CONFIG")
    if named:
        return Path(named)
    here = Path("tokenworks.toml")
    return here if here.exists() else None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings named in the environment as a nested table; foreign names are an error."""
    table: dict[str, Any] = {}
    ours = {"CONFIG", "DATA"}  # DATA: where tests find real data
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name[len(PREFIX) :] in ours:
            continue
        *sections, key = name[len(PREFIX) :].lower().split("__")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"environment: {name} and {PREFIX}{section.upper()} contradict each other")
        place[key] = value
    return table


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
