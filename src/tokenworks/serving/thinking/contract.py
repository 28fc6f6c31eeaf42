"""What a way of thinking is, and what it works with: samples it draws, and the outcome it comes to.

A way is a file in `serving/reasoning/` with a class `Strategy`, made from a `Plan`. It draws from a `Desk`, which keeps
the budget: a way cannot overspend, whatever it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from tokenworks.core.errors import TokenworksError

if TYPE_CHECKING:
    from tokenworks.serving.thinking.desk import Desk
    from tokenworks.serving.thinking.verifying import Verifier

ROOM = "tokenworks.serving.reasoning"


class Draw(msgspec.Struct, frozen=True, kw_only=True):
    """What one sample is asked for."""

    number: int = 0  # from 1 on; a seed of the caller's is moved on by it
    logprobs: bool = False
    after: str = ""  # what was said so far, where the sample goes on from it
    cue: str = ""  # what is said between that and the sample
    most_tokens: int | None = None  # of this one, where the way bounds it


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of the model, with what it took."""

    number: int
    text: str
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    logprobs: tuple[float, ...] = ()  # natural, of each token that was chosen; empty: the engine told none
    engine_s: float = 0.0
    joules: float | None = None
    cost_micro: int = 0
    id: str = ""  # of its request

    @property
    def whole(self) -> bool:
        """Whether it came to its own end."""
        return self.finish_reason != "length"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How far a way may go."""

    samples: int = 16  # at most
    confidence: float = 0.95  # that more samples would not change the answer
    rounds: int = 2  # of thinking again
    easy: float = 0.98  # mean probability of a token from which on one sample is enough
    cue: str = "Wait"
    verifier: Verifier | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a way came to."""

    chosen: Sample
    answer: str = ""  # what was voted on
    agreement: float | None = None  # share of the votes that the answer has
    score: float | None = None  # what the verifier gave it
    stopped: str  # why no more was drawn, see docs/reasoning.md
    text: str | None = None  # where it is not the chosen sample's own
    notes: tuple[str, ...] = ()


class Strategy(Protocol):
    """A way of thinking."""

    def __init__(self, plan: Plan) -> None: ...

    async def think(self, desk: Desk) -> Outcome:
        """Draw until it is worth no more, and choose. Raises `DrawError` where not one sample was to be had."""
        ...


class DrawError(TokenworksError):
    """A sample could not be had. `final`: nor will the next one. `spent`: the engine may have worked on it."""

    def __init__(self, message: str, *, code: str = "engine_error", final: bool = False, spent: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.final = final
        self.spent = spent


class NoLogprobsError(DrawError):
    """The engine tells no probabilities; asked without them it answers."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="unsupported_parameter", spent=False)


class BudgetError(TokenworksError):
    """A budget that cannot be meant, or is too small for one sample. `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
