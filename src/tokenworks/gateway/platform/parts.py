"""What the platform is built from: where things are kept, who else is told, and how much may run at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tokenworks.core.clock import Clock, SystemClock
from tokenworks.gateway.platform.batches import WINDOW_S
from tokenworks.gateway.platform.elsewhere import Tell
from tokenworks.metering.deferral import MayStart, at_once
from tokenworks.settings import PlatformSettings
from tokenworks.store.artifacts import ArtifactStore
from tokenworks.store.objects import Objects


def nobody() -> None:
    """Tell nobody."""


def by_nothing(digest: str) -> bool:
    """Need no bytes."""
    return False


@dataclass(frozen=True)
class Parts:
    """What the platform works with. `wake` tells whoever runs fine-tuning jobs that something changed."""

    objects: Objects
    artifacts: ArtifactStore
    scratch: Path
    wake: Callable[[], None] = nobody
    needed: Callable[[str], bool] = by_nothing  # whether anything besides files has the bytes of a digest
    elsewhere: Tell | None = None  # where another process works on runs and batches, how it is told
    home: str = ""  # whose texts these are: what only they can answer is worked on in this home
    server: Tell | None = None  # of this home, where this process is a worker of it
    settings: PlatformSettings = field(default_factory=PlatformSettings)
    clock: Clock = field(default_factory=SystemClock)
    may_start: MayStart = at_once  # whether a batch may begin, or has a better hour before it
    batches_within_s: float = WINDOW_S  # when it begins at the latest
