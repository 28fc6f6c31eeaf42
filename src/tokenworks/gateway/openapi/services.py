"""What is neither tokens nor the platform: models, feedback, search, checks, ranking, health."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from tokenworks.gateway.feedback import MOST_AT_ONCE
from tokenworks.gateway.metrics import CONTENT_TYPE
from tokenworks.gateway.moderations import Wanted as Checked
from tokenworks.gateway.openapi.operation import HEALTH, KEYED, READ, SERVICE, TOKENS, Operation, Shown
from tokenworks.gateway.openapi.tokens import HEADERS
from tokenworks.gateway.rerank import Wanted as Ranked
from tokenworks.gateway.search import SearchBody
from tokenworks.governance.opinions import Opinion

EACH = "Each is one piece of feedback, taken for itself: what cannot be taken is answered by its error."
Opinions = Opinion | Annotated[list[Any], Meta(max_length=MOST_AT_ONCE, description=EACH)]


class Model(Shown, frozen=True, kw_only=True):
    """What is released; the fields after `owned_by` are ours."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    version: str
    kind: str
    label: str


class ModelList(Shown, frozen=True, kw_only=True):
    """All that the key may use."""

    object: Literal["list"]
    data: list[Model]


class Feedback(Shown, frozen=True, kw_only=True, tag_field="object", tag="feedback"):
    """What was said of an answer; `status` stands in lists alone."""

    id: str
    request_id: str
    created_at: int
    rating: int | None
    has_correction: bool
    outcome: float | None
    preferred_over: str | None
    signal: str | None
    status: int | UnsetType = UNSET


class FeedbackProblem(Shown, frozen=True, kw_only=True):
    """Why it was not taken."""

    message: str
    code: str
    param: str | None


class FeedbackError(Shown, frozen=True, kw_only=True, tag_field="object", tag="feedback.error"):
    """One of a list that was not taken."""

    index: int
    status: int
    error: FeedbackProblem


class FeedbackTaken(Shown, frozen=True, kw_only=True, tag_field="object", tag="list"):
    """A list, each for itself."""

    data: list[Feedback | FeedbackError]
    taken: int
    failed: int


class FeedbackList(Shown, frozen=True, kw_only=True):
    """All feedback on a request, the oldest first."""

    object: Literal["list"]
    data: list[Feedback]


class FoundText(Shown, frozen=True, kw_only=True):
    """Some text."""

    type: Literal["text"]
    text: str


class FoundPassage(Shown, frozen=True, kw_only=True):
    """A passage that answers a query."""

    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | float | bool]
    content: list[FoundText]


class FoundPassages(Shown, frozen=True, kw_only=True):
    """Passages, the best first."""

    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[FoundPassage]
    has_more: bool
    next_page: None


class FoundPlace(Shown, frozen=True, kw_only=True):
    """Where something stands, in characters."""

    kind: str
    start: int
    end: int


class ModerationResult(Shown, frozen=True, kw_only=True):
    """What a text holds; `findings` and `label` are ours."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    findings: list[FoundPlace]
    label: str


class Moderation(Shown, frozen=True, kw_only=True):
    """The results, in the order of the input."""

    id: str
    model: str
    results: list[ModerationResult]


class RankedText(Shown, frozen=True, kw_only=True):
    """A document."""

    text: str


class RankedDocument(Shown, frozen=True, kw_only=True):
    """A document with its score."""

    index: int
    relevance_score: float
    document: RankedText | UnsetType = UNSET


class Ranking(Shown, frozen=True, kw_only=True):
    """The documents, the nearest first."""

    id: str
    model: str
    usage: dict[str, int]
    results: list[RankedDocument]


class Alive(Shown, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["ok"]


class EngineState(Shown, frozen=True, kw_only=True):
    """An engine."""

    state: str
    restarts: int


class PolicyState(Shown, frozen=True, kw_only=True):
    """Which policies are in force."""

    digest: str
    state: Literal["in force", "broken"]


class Readiness(Shown, frozen=True, kw_only=True):
    """Whether it can answer."""

    status: Literal["ready", "degraded", "draining", "failed"]
    engines: dict[str, EngineState]
    policies: PolicyState


NOTHING = Annotated[dict[str, Any], Meta(max_length=0)] | None  # what is refused where it says anything
ONCE = ("idempotency-key",)
NOTED = ("x-tokenworks-receipt",)
_rank = partial(
    Operation,
    method="POST",
    tag="Tokens",
    family="Rerank",
    summary="Order documents by how near a query they are",
    body=Ranked,
    answer=Ranking,
    refusals=TOKENS,
    headers=HEADERS,
)
_health = partial(Operation, method="GET", tag="Health", refusals=HEALTH)
_model = partial(Operation, method="GET", tag="Models")
OPERATIONS = (
    _rank(path="/v1/rerank", id="rerankV1"),
    _rank(path="/rerank", id="rerank"),
    _model(path="/v1/models", id="listModels", summary="List what is released", answer=ModelList),
    _model(path="/v1/models/{model}", id="getModel", summary="Return a model", answer=Model, refusals=KEYED | {404}),
    Operation(
        method="POST",
        path="/v1/feedback",
        id="giveFeedback",
        tag="Feedback",
        summary="Say what an answer was worth",
        body=Opinions,
        answer=Feedback | FeedbackTaken,
        status=201,
        also=(200,),
        refusals=SERVICE | {404, 409, 410, 429},
        headers=ONCE,
    ),
    Operation(
        method="GET",
        path="/v1/feedback/{request_id}",
        id="listFeedback",
        tag="Feedback",
        summary="Return what was said of an answer",
        answer=FeedbackList,
        refusals=SERVICE | {404, 410},
    ),
    Operation(
        method="POST",
        path="/v1/vector_stores/{vector_store_id}/search",
        id="searchVectorStore",
        tag="Search",
        summary="Search the documents",
        body=SearchBody,
        narrowed={"filters": NOTHING},
        answer=FoundPassages,
        refusals=SERVICE | {404},
        headers=NOTED,
    ),
    Operation(
        method="POST",
        path="/v1/moderations",
        id="createModeration",
        tag="Checks",
        summary="Look for personal data and secrets",
        body=Checked,
        answer=Moderation,
        family="Checks",
        refusals=KEYED | READ | {403, 404},
        headers=("x-tokenworks-label", *NOTED),
    ),
    _health(path="/healthz", id="isAlive", summary="Say that the process answers", answer=Alive),
    _health(path="/readyz", id="isReady", summary="Say whether it can answer", answer=Readiness, also=(503,)),
    _health(path="/metrics", id="getMetrics", summary="Return the figures for Prometheus", media=CONTENT_TYPE),
    _health(path="/openapi.json", id="getOpenapi", summary="Return this description", answer=dict[str, Any]),
)
