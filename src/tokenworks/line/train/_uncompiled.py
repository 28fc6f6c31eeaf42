"""Torch's optimisers without torch's compiler: importing that takes as long as torch itself, and nothing here compiles.

Knows how torch 2.13 hides the one from the other; where another version does it differently, the import is back.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:
    from torch.optim import Optimizer

Kind = TypeVar("Kind", bound="Optimizer")
_SHIELDED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")


@cache
def uncompiled(kind: type[Kind]) -> type[Kind]:
    """Return the optimiser class `kind` with the same steps, that does not import `torch._dynamo` for them."""
    import torch  # heavy: only training pays for it

    for name in _SHIELDED:
        plain = getattr(getattr(torch.optim.Optimizer, name, None), "__wrapped__", None)
        if plain is not None:  # torch/_compile.py looks here for what the compiler made of it before it imports it
            plain.__dynamo_disable = plain
    step = torch.no_grad()(inspect.unwrap(kind.step))
    return cast("type[Kind]", type(kind.__name__, (kind,), {"step": step}))
