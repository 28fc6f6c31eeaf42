"""A server elsewhere, and its meter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from metering.attribution.coarse.far_server import Elsewhere


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    return Elsewhere(tmp_path / "there", monkeypatch)


@pytest.fixture
def elsewhere_every(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Elsewhere]:
    return lambda interval_s: Elsewhere(tmp_path / f"{interval_s}", monkeypatch, interval_s=interval_s)
