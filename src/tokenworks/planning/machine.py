"""What of a machine costs time and money: a device's speeds, memory, draw and prices, as its data sheet says them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tokenworks.core.errors import ConfigError

MOST = 1e15  # no figure that can be meant is larger; infinity is not one
Amount = Annotated[float, msgspec.Meta(ge=0, le=MOST)]
Above = Annotated[float, msgspec.Meta(gt=0, le=MOST)]

PRECISIONS = {  # bits of a weight, its scales included
    "bf16": 16.0, "fp16": 16.0, "fp8": 8.0, "int8": 8.0, "fp4": 4.5, "nvfp4": 4.5, "mxfp4": 4.25, "int4": 4.5,
}  # fmt: skip
_HALF = ("bf16", "fp16", "int4")  # multiplied as they are, or unpacked to that first


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One device (an accelerator, or a host whose processor does the work) and its share of a server."""

    bf16_tflops: Above  # dense, as all of these
    fp8_tflops: Amount = 0.0  # 0: it has none, and computes in bf16
    fp4_tflops: Amount = 0.0
    memory_gb: Above
    bandwidth_tb_s: Above
    link_gb_s: Amount = 0.0  # to its neighbours, one direction
    devices: Annotated[int, msgspec.Meta(ge=1)] = 8  # at most so many share a model
    tdp_w: Amount = 0.0
    host_w: Amount = 0.0  # its share of the server around it
    price_usd: Amount | None = None  # of the device with its share of the server
    rent_usd_h: Amount | None = None
    embodied_kg: Amount = 0.0  # CO2e of making it, its share of the server included
    priced: str = ""  # when and by whom
    source: str = ""
    aliases: tuple[str, ...] = ()

    def flops(self, precision: str) -> float:
        """Return FLOP/s at `precision`; 4-bit weights that the machine cannot multiply are unpacked to bf16."""
        wanted = 0.0 if precision in _HALF else self.fp4_tflops if "fp4" in precision else self.fp8_tflops
        return (wanted or self.bf16_tflops) * 1e12


def weight_bits(precision: str) -> float:
    """Return the bits of a weight; raise `ConfigError` naming the precisions that exist."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} does not exist; there are: {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]
