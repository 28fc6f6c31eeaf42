"""One request on its way in and out: what the layers of the stack hand to each other. Knows nothing of HTTP servers."""

from __future__ import annotations

import math
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from tokenworks.core.destination import Destination
from tokenworks.core.ids import new_id
from tokenworks.core.label import Label
from tokenworks.core.priority import Priority
from tokenworks.core.usage import NOTHING_SPENT, Spent, Usage
from tokenworks.gateway.openai.asked import Asked
from tokenworks.gateway.ruling import NOTHING_CARRIED, Least, Ruling
from tokenworks.gateway.served import Served
from tokenworks.governance.keys import Principal
from tokenworks.governance.prices import Price
from tokenworks.ledger.entries import RequestEntry, Sent
from tokenworks.serving.answer import EngineAnswer, EngineCall
from tokenworks.serving.traffic import Traffic

if TYPE_CHECKING:
    from tokenworks.gateway.thinking.thought import Thought
    from tokenworks.gateway.traced import Traced

_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{8,64}")
OF_TRIALS = ("-canary", "-shadow")  # ends of ids that we give ourselves

Reply = EngineAnswer
Handle = Callable[["Exchange"], Awaitable[Reply]]
Layer = Callable[["Exchange", Handle], Awaitable[Reply]]
Routes = dict[tuple[str, str], tuple[str, Handle]]  # method and path to the name of an endpoint and what answers
Permits = Callable[[Destination, Label], str]


def nothing_permitted(destination: Destination, label: Label) -> str:
    """Return the refusal that stands until a layer has decided: policy fails closed."""
    return f"nobody has decided whether {label} text may go to {destination.name}"


class Exchange(msgspec.Struct, kw_only=True, eq=False):
    """Everything known of one request. The face fills in the first group, each layer what it finds out."""

    endpoint: str
    face: str = ""  # the wire form that the caller used, where it is not the endpoint's own
    read: Callable[[], Awaitable[bytes]]  # the body: read only after the caller is known
    request_id: str
    credential: str = ""
    declared: str = ""  # the label that the caller says the text has
    conversation: str = ""  # what the caller says belongs together; from `classify` on, its pseudonym
    may_learn: bool = True  # whether the answer may be learned from; from `classify` on, the last word
    wants_receipt: bool = False  # whether the caller asks for a signed promise of the entry
    target: str = ""  # the thing named in the path, where one is
    targets: tuple[str, ...] = ()  # every thing named in the path
    query: str = ""  # what stands behind the question mark
    content_type: str = ""
    pieces: Callable[[int], AsyncIterator[bytes]] | None = None  # the body as it arrives, at most so many bytes
    idempotency_key: str = ""
    stored: bool = False  # whether the caller wants to read the answer again
    later: Callable[[], Awaitable[Reply]] | None = None  # says that it is accepted, where the answer comes later
    beta: str = ""  # features beyond the published API that the caller wants
    traceparent: bytes = b""  # W3C trace context
    urgency: str = ""  # the priority that the caller asks for, by name
    due_ms: str = ""  # how long the whole answer may take, as the caller says
    patience: str = ""  # seconds that the caller's SDK listens in vain

    at: float = msgspec.field(default_factory=time.time)
    started_s: float = msgspec.field(default_factory=time.monotonic)
    principal: Principal | None = None
    body: bytes = b""
    asked: Asked | None = None
    label: Label | None = None  # of the prompt; from `authorise` on, of the answer
    least: Least = NOTHING_CARRIED  # what the text counts as at least, by what it goes on from or what was found in it
    user: str = ""  # pseudonym of the caller's end user
    # Asked before text of a label goes anywhere, at every attempt anew: "" or why it may not. Set by `authorise`.
    permits: Permits = nothing_permitted
    outgoing: Label = Label.RESTRICTED  # what the prompt counts as on its way out; from `authorise` on
    ruling: Ruling | None = None  # by which policies; from `authorise` on
    version: str = ""  # name@version that answers
    arm: str = ""  # while a trial is in force: incumbent | canary | shadow
    instead: Served | None = None  # who answers when a canary cannot
    beside: Served | None = None  # who is asked too, with its answer shown to nobody
    broken: str = ""  # why what is on trial cannot be asked at all
    priority: Priority = Priority.INTERACTIVE
    weight: float = 1.0  # of the tenant's share
    deadline_s: float = math.inf  # until when the answer is planned for; monotonic, as all times that end in _s
    cut_s: float | None = None  # when it is ended, complete or not
    price: Price | None = None  # of the tokens that the caller is given
    costing: Callable[[Exchange], int | None] | None = None  # says what it cost the house; set where costs are known
    cost: int | None = None  # what it said, in millionths: asked once, when the answer is complete
    answer_most: int | None = None  # tokens of an answer, where the caller set no bound and a limit needs one
    settle: Callable[[RequestEntry], None] | None = None  # called once, with the entry that was written
    written: Callable[[RequestEntry], None] | None = None  # called once, after `settle`
    replays: str = ""  # the request whose answer is given again
    told: tuple[tuple[str, str], ...] = ()  # headers about the caller's limits
    call: EngineCall | None = None
    usage: Usage = msgspec.field(default_factory=Usage)
    spent: Spent = NOTHING_SPENT  # as far as the engine has said
    ttft_s: float = 0.0
    engine: str = ""
    traffic: list[Traffic] = msgspec.field(default_factory=list)  # of every attempt, as far as it came
    entry: RequestEntry | None = None  # once it is durable
    thought: Thought | None = None  # where it is thought about in samples, or is one
    traced: Traced | None = None  # where tracing is configured
    sent: list[Sent] = msgspec.field(
        default_factory=list
    )  # where the text went in turn; empty: to this site's engine alone
    resumed: int = 0  # how often a stream was finished by another engine than it was begun by

    @property
    def who(self) -> Principal:
        """The caller; only behind `identify`."""
        assert self.principal is not None, "this layer stands before identify"
        return self.principal

    @property
    def what(self) -> Asked:
        """The parsed request; only behind `classify`."""
        assert self.asked is not None, "this layer stands before classify"
        return self.asked

    def price_micro(self) -> int:
        """Return what the caller is charged for the tokens so far, in millionths of the price list's unit."""
        if self.price is None:
            return 0
        usage = self.usage
        return self.price.micro(
            prompt=usage.prompt_tokens,
            cached=usage.cached_tokens,
            completion=usage.completion_tokens,
            thinking=usage.thinking_tokens,
        )

    def cost_micro(self) -> int | None:
        """Return what the answer, now complete, cost the house in millionths; None where nobody can say."""
        if self.cost is None and self.costing is not None:
            self.cost = self.costing(self)
        return self.cost


def request_id_from(offered: str) -> str:
    """Return the client's own id when it is short and plain, else a new one.

    One that ends as those of trials do is not the client's to choose: what a trial came to, nobody is charged for.
    """
    return offered if _SANE_ID.fullmatch(offered) and not offered.endswith(OF_TRIALS) else new_id("req")


def whole(body: bytes) -> Callable[[], Awaitable[bytes]]:
    """Return a reader for a body that is already here."""

    async def read() -> bytes:
        return body

    return read
