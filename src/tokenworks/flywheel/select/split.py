"""What is trained on and what is only measured on: by conversation, else by user, never by row.

While one model answers, a group never changes sides. When the next one takes its place, what that one was measured on
may be learned from, and of what comes after it others are measured on: docs/decisions/0115.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from tokenworks.flywheel.select.rows import Row

MANY_USERS = 20  # fewer: a user's days are groups of their own, or one person would decide what is measured
_DAY_S = 86_400
_FULL = 1 << 64


def with_groups(rows: Sequence[Row], learned_until: float = 0.0) -> list[Row]:
    """Return the rows with the group that each belongs to.

    Users stay for years: what one said after `learned_until` is a group of its own, or they would be on one side for
    ever. A conversation stays whole.
    """
    many = len({row.user for row in rows if row.user}) >= MANY_USERS
    return [msgspec.structs.replace(row, group=_group(row, many, learned_until)) for row in rows]


def _group(row: Row, many_users: bool, learned_until: float) -> str:
    if row.conversation:
        return f"conversation:{row.conversation}"
    if not row.user:
        return f"request:{row.request_id}"
    if not many_users:
        return f"user:{row.user}:{int(row.asked_at // _DAY_S)}"
    return f"user:{row.user}:{learned_until:.0f}" if 0 < learned_until < row.at else f"user:{row.user}"


def fresh_groups(rows: Iterable[Row], *, share: float, seed: int, learned_until: float = 0.0) -> set[str]:
    """Return the groups that are only measured on: by lot, of those that the model in production never learned from."""
    groups, learned = set[str](), set[str]()
    for row in rows:
        (groups if row.at > learned_until else learned).add(row.group)
    return {group for group in groups - learned if is_fresh(group, share=share, seed=seed, learned_until=learned_until)}


def is_fresh(group: str, *, share: float, seed: int, learned_until: float = 0.0) -> bool:
    """Draw the lot of a group: the same in every turn as long as the same model answers."""
    digest = hashlib.sha256(f"{seed}\0{learned_until}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / _FULL < share
