"""What can be written to the ledger. An entry is a fact: it is never changed, and holds no prompt or answer text."""

from __future__ import annotations

import msgspec

from tokenworks.core.model import Release
from tokenworks.store.nouns import Budget

# gc=False: a server remembers tens of thousands of entries, none of them part of a cycle, and each look of the garbage
# collector at all of them was a fifth of what requests cost.


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", omit_defaults=True, gc=False):
    """A fact with its time, in seconds since the Unix epoch."""

    at: float


class Transfer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one attempt to be answered sent somewhere and got back, in bytes of HTTP with its heads."""

    destination: str
    region: str  # "here": the organisation's own machines
    address: str  # host:port; empty for an engine of this machine
    label: str  # of the text that was sent
    sent_bytes: int
    received_bytes: int


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A destination was sent the text of a request."""

    to: str  # here: an engine of this site; else the name of a server elsewhere
    region: str = "here"
    size_bytes: int = 0  # of the body
    ended: str = "ok"  # ok | refused | busy | failed | lost | silent | dropped


class RequestEntry(Entry, frozen=True, kw_only=True, tag="request"):
    """One request for tokens, however it ended."""

    request_id: str
    endpoint: str
    outcome: str  # ok | refused | failed | cancelled
    status: int  # HTTP
    tenant: str = ""
    key_id: str = ""
    project: str = ""
    model: str = ""  # as asked for
    version: str = ""  # as answered: name@version
    engine: str = ""
    label: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    thinking_tokens: int = 0  # of `completion_tokens`, those that are not in the answer
    ttft_s: float = 0.0
    latency_s: float = 0.0
    salt: str = ""  # hex; digests are sha256(salt + bytes), so a log reader cannot guess short texts
    prompt_digest: str = ""
    answer_digest: str = ""
    error: str = ""  # the error code, never the text of a prompt
    user: str = ""  # pseudonym of the caller's end user, see `core.ids.pseudonym`
    conversation: str = ""  # pseudonym of what the caller says belongs together
    learn: bool = True  # False: caller, key or tenant refused that anything is learned from it
    arm: str = ""  # while a canary runs: incumbent | canary | shadow
    stored: bool = False  # the caller wants to read it again: its texts are kept, whatever `learn` says
    replays: str = ""  # the request whose answer was given again under its idempotency key
    price_micro: int = 0  # what it cost whom it was given to, in millionths of the price list's unit
    sent: tuple[Sent, ...] = ()  # where it was sent, who answered ended `ok`; empty: to this site's engine alone
    resumed: int = 0  # how often the rest of a stream was made by another engine than its beginning
    face: str = ""  # how it was asked, where not in OpenAI's words: messages | rerank | responses | batch
    transfers: tuple[Transfer, ...] | None = None  # one for each attempt; None: written before they were counted
    policies: str = ""  # digest of the policies that decided
    denied_by: str = ""  # ids of those that denied, with commas; `default` where none permits
    engine_s: float = 0.0  # its share of the engine's time, step by step
    joules: float | None = None  # its share of what was metered; None: nothing was
    joules_error: float = 0.0  # standard uncertainty, as a share of `joules`
    meter: str = (
        ""  # how good the meter is: wall | nvml | rapl | sampled | model; gap: nothing to say; coarse-...: elsewhere
    )
    grant: str = ""  # the grant that was used, by its id; limits and sums are its key's
    cost_micro: int = 0  # what it cost whoever runs the machines, in millionths of the price list's unit
    part_of: str = ""  # the request that this one is a sample for; nobody is charged for it but by that one
    samples: int = 0  # how many were drawn for the answer; its tokens are theirs, engine, joules and cost stand there
    strategy: str = ""  # how it was thought about
    agreement: float | None = None  # share of the votes, where there was a vote
    stopped: str = ""  # why no more samples were drawn


class FeedbackEntry(Entry, frozen=True, kw_only=True, tag="feedback"):
    """What somebody thought of an answer. The text of a correction lies beside the log."""

    feedback_id: str
    request_id: str
    key_id: str = ""
    tenant: str = ""
    rating: int | None = None  # -1, 0, 1
    has_correction: bool = False
    salt: str = ""
    correction_digest: str = ""
    user: str = ""  # pseudonym of the end user who gave it
    outcome: float | None = None  # what became of it, known later: 0 (failed) to 1 (succeeded)
    preferred_over: str = ""  # the request whose answer was the worse of two
    signal: str = ""  # what the user did with the answer: accepted | edited | regenerated


class ReleaseEntry(Entry, frozen=True, kw_only=True, tag="release"):
    """An alias points to another model version from now on."""

    release: Release


class StageEntry(Entry, frozen=True, kw_only=True, tag="stage"):
    """A stage of the line finished, by work or by a cache hit."""

    task: str
    stage: str
    key: str
    outputs: dict[str, str]
    seconds: float
    hit: bool


class ModelEntry(Entry, frozen=True, kw_only=True, tag="model"):
    """A model version was registered."""

    model: str
    version: int
    folder: str
    label: str


class TurnEntry(Entry, frozen=True, kw_only=True, tag="turn"):
    """A turn of the flywheel ended."""

    task: str
    number: int
    verdict: str  # promote | reject | need-more | nothing-new
    candidate: str = ""
    incumbent: str = ""
    evidence: str = ""
    corrections: int = 0
    seconds: float = 0.0
    dataset: str = ""  # digest of the selection's report
    quarantined: int = 0
    live: str = ""  # digest of what the canary showed
    approved_by: str = ""
    engine_s: float = 0.0  # engine-seconds spent on judging and teaching
    train_s: float = 0.0


class TurnStepEntry(Entry, frozen=True, kw_only=True, tag="turn-step"):
    """A step of a turn ended. Written once per step, however often the turn was killed."""

    task: str
    number: int
    step: str  # select | train | gate | canary | release | end
    says: str  # in one line
    evidence: str = ""  # digest
    seconds: float = 0.0


class ErasureEntry(Entry, frozen=True, kw_only=True, tag="erasure"):
    """Texts were erased on somebody's request. What was said of them in the log stays provable."""

    erasure_id: str
    tenant: str
    user: str = ""  # whose texts: a pseudonym
    request_id: str = ""  # or of which request
    document: str = ""  # or which document: a pseudonym of its source and path
    requests: int = 0  # how many were erased
    versions: tuple[str, ...] = ()  # model versions that had learned from them
    by: str = ""


class AccessEntry(Entry, frozen=True, kw_only=True, tag="access"):
    """Who may ask was changed: keys, tenants, projects, people and their roles. Never holds a secret."""

    access_id: str
    action: str  # what, then done how: key.new | key.rotate | key.retire | key.revoke | grant.new | person.roles | ...
    subject: str  # the key's id, the tenant's name, the project's as tenant/name, the pseudonym of a person
    tenant: str = ""
    by: str = ""
    name: str = ""  # what the key is for
    prefix: str = ""  # of the secret that was made or ended
    project: str = ""
    person: str = ""  # whose key it is: a pseudonym
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    clearance: str = ""
    expires_at: float | None = None
    ends_at: float | None = None  # when what is taken away ends
    parent: str = ""  # of a grant: its key
    models: tuple[str, ...] = ()  # of a grant: those that it may ask; empty: all that its key may
    budget: Budget | None = None  # of a grant


class PolicyEntry(Entry, frozen=True, kw_only=True, tag="policy"):
    """From now on this writer decides by these policies: at its start, and whenever they changed."""

    digest: str
    before: str = ""  # digest of those in force until now; empty at the start
    policies: tuple[str, ...] = ()  # ids


class HoldEntry(Entry, frozen=True, kw_only=True, tag="hold"):
    """A legal hold began or ended: what it covers is neither erased nor dropped for its age."""

    hold_id: str
    action: str  # set | lifted
    tenant: str
    user: str = ""  # a pseudonym; empty: the whole tenant
    because: str = ""
    by: str = ""


class ConfigEntry(Entry, frozen=True, kw_only=True, tag="config"):
    """A server started with these settings. Secrets are named and never shown."""

    digest: str  # of all settings
    version: str  # of Tokenworks
    changed: dict[str, tuple[str, str]] = {}  # setting -> before and after, since the last start
    by: str = ""


class ReadEntry(Entry, frozen=True, kw_only=True, tag="read"):
    """An administrator was shown texts of somebody; written before they were shown."""

    request_id: str
    tenant: str
    user: str = ""  # whose texts: a pseudonym
    label: str = ""
    because: str = ""
    by: str = ""


class EnergyEntry(Entry, frozen=True, kw_only=True, tag="energy"):
    """What a stretch of time took of this machine's meter: `metered_j` = requests + other + idle."""

    seconds: float  # that the joules stand for; `at` is their end
    metered_j: float
    requests_j: float = 0.0  # due to requests: of those that ended, their entries have it
    idle_j: float = 0.0  # while no engine had work
    other_j: float = 0.0  # of other work on this machine, training for one
    untold_j: float = 0.0  # of `requests_j`, what no entry has: answers broken off, engines that died, gaps
    carried_j: float = 0.0  # of all that was due until now, what requests to come are given
    engine_s: float = 0.0  # engines had steps under way, added up
    meter: str = ""  # wall | nvml | rapl | sampled | model
    source: str = ""  # by the settings
    error: float = 0.0  # standard uncertainty of `metered_j`, as a share
    gap_s: float = 0.0  # besides `seconds`: nobody knows
    waiting_s: float = 0.0  # since the meter was read for the last time, where that is long
    because: str = ""  # why there are gaps


class FarEnergyEntry(Entry, frozen=True, kw_only=True, tag="far-energy"):
    """What a stretch of time took of a meter elsewhere: `metered_j` = requests + foreign + other + idle."""

    server: str  # by the settings
    seconds: float  # that the joules stand for; `at` less `waiting_s` is their end
    metered_j: float
    requests_j: float = 0.0  # due to requests of this house: of those that ended, their entries have it
    foreign_j: float = 0.0  # of requests that the server counted and this house did not send
    idle_j: float = 0.0  # while the engine had no work
    other_j: float = 0.0  # drawn above that, while it had none
    untold_j: float = 0.0  # of `requests_j`, what no entry has: answers broken off, gateways that died, gaps
    carried_j: float = 0.0  # of all that was due until now, what requests to come are given
    engine_s: float = 0.0  # of its busy time, what requests of this house had
    foreign_s: float = 0.0  # and what others had
    prompt_tokens: int = 0  # by the server's counters, whoever asked
    completion_tokens: int = 0
    foreign_prompt_tokens: int = 0  # of them, of others
    foreign_completion_tokens: int = 0
    meter: str = ""  # coarse-wall | coarse-nvml | coarse-rapl | coarse-sampled | coarse-model
    source: str = ""  # by the settings
    error: float = 0.0  # standard uncertainty of `metered_j`, as a share
    gap_s: float = 0.0  # besides `seconds`: nobody knows
    waiting_s: float = 0.0  # since then: not settled, as requests of that time are still under way
    because: str = ""  # why there are gaps, or what else happened


AnyEntry = (
    RequestEntry
    | FeedbackEntry
    | ReleaseEntry
    | StageEntry
    | ModelEntry
    | TurnEntry
    | TurnStepEntry
    | ErasureEntry
    | AccessEntry
    | PolicyEntry
    | HoldEntry
    | ConfigEntry
    | ReadEntry
    | EnergyEntry
    | FarEnergyEntry
)
