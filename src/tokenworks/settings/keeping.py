"""Where things are kept, and for how long: the sections about the store and the ledger."""

from __future__ import annotations

import msgspec


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
