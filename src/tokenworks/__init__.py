"""Tokenworks: an AI factory in a Python package.

The public names are loaded on first use, so that `import tokenworks` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenworks.core.version import __version__

if TYPE_CHECKING:
    from tokenworks.factory import Factory

__all__ = ["Factory", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Factory":
        from tokenworks.factory import Factory  # heavy: pulls the store and the HTTP stack

        return Factory
    raise AttributeError(f"module 'tokenworks' has no attribute {name!r}")
