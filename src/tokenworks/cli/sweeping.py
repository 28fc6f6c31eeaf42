"""`tokenworks evaluate NAME --sweep reasoning`: what its options mean, and what is shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokenworks.cli.context import Context
from tokenworks.core.errors import ConfigError

if TYPE_CHECKING:
    from tokenworks.factory import Factory
    from tokenworks.gateway.openai.fields import Verification


@dataclass(frozen=True)
class Asked:
    """The options of a sweep."""

    questions: Path | None
    answer: str
    samples: int
    temperature: float | None
    verifiers: list[str] | None
    cue: str


def show_sweep(ours: Context, name: str, what: str, asked: Asked) -> None:
    """Sweep, and show the curve and the default. Raises `ConfigError` for what there is not."""
    from tokenworks.factory.sampling import read_questions
    from tokenworks.factory.sweeping import sweep, sweep_lines

    if what != "reasoning":
        raise ConfigError(f"--sweep {what!r} does not exist; there is: reasoning")
    verifiers, path = [_verifier(one) for one in asked.verifiers or ()], asked.questions
    with ours.factory() as factory:
        if path is None:
            gold = factory.task(name).check.gold
            if not gold:
                raise ConfigError(f"task {name!r} has no gold file; give --questions FILE")
            path = factory.task(name).path(gold)
        version = factory.version(name).ref
        found = sweep(
            factory,
            version,
            read_questions(path),
            answer=asked.answer,
            samples=asked.samples,
            temperature=asked.temperature,
            verifiers=[_exact(factory, one) for one in verifiers],
            cue=asked.cue,
        )
    ours.show(found, "\n".join(sweep_lines(found)))


def _verifier(given: str) -> Verification:
    import msgspec

    from tokenworks.gateway.openai.fields import Verification

    try:
        return msgspec.json.decode(given.encode(), type=Verification)
    except msgspec.MsgspecError as error:
        example = '{"type": "regex", "pattern": "; [0-9]+$"}'
        raise ConfigError(f"--verifier {given[:80]!r} is no verifier: {error}; write one such as {example}") from None


def _exact(factory: Factory, verifier: Verification) -> Verification:
    """Return a verifier whose judge is named by its version: a sweep asks versions, not releases."""
    import msgspec

    if verifier.type != "judge" or not verifier.model:
        return verifier
    return msgspec.structs.replace(verifier, model=factory.version(verifier.model).ref)
