"""What is drawn, and what may go wrong with it: samples asked for, made, refused or not paid for. Knows no strategy."""

from __future__ import annotations

import msgspec

from tokenworks.core.errors import TokenworksError


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
