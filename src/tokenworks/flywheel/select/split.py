"""What is trained on and what is only measured on: by conversation, else by user, never by row, and always the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from tokenworks.flywheel.select.rows import Row

MANY_USERS = 20  # fewer: a user's days are groups of their own, or one person would decide what is measured
_DAY_S = 86_400
_FULL = 1 << 64


def with_groups(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with the group that each belongs to."""
    many = len({row.user for row in rows if row.user}) >= MANY_USERS
    return [msgspec.structs.replace(row, group=_group(row, many)) for row in rows]


def _group(row: Row, many_users: bool) -> str:
    if row.conversation:
        return f"conversation:{row.conversation}"
    if row.user:
        return f"user:{row.user}" if many_users else f"user:{row.user}:{int(row.asked_at // _DAY_S)}"
    return f"request:{row.request_id}"


def is_fresh(group: str, *, share: float, seed: int) -> bool:
    """Tell whether a group is only measured on. It depends on its name alone: the same in every turn."""
    digest = hashlib.sha256(f"{seed}\0fresh\0{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / _FULL < share
