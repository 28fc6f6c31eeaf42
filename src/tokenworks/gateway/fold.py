"""Layers around a handle: what a request passes on its way in, and its answer on the way out."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial

from tokenworks.gateway.exchange import Exchange, Handle, Layer, Reply


def fold(around: Sequence[Layer], innermost: Handle) -> Handle:
    """Return `innermost` with the layers folded around it, the first of them outermost."""
    handle = innermost
    for layer in reversed(around):
        handle = partial(_through, layer, handle)
    return handle


def _through(layer: Layer, inner: Handle, exchange: Exchange) -> Awaitable[Reply]:
    return layer(exchange, inner)
