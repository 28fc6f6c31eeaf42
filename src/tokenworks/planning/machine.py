"""What of a machine costs time and money: a device's speeds, memory, draw and prices, as its data sheet says them."""

from __future__ import annotations

import msgspec

from tokenworks.core.errors import ConfigError

PRECISIONS = {"bf16": 16.0, "fp8": 8.0, "int8": 8.0, "fp4": 4.5, "int4": 4.5}  # bits of a weight, its scales included


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One device (an accelerator, or a host whose processor does the work) and its share of a server."""

    bf16_tflops: float  # dense, as all of these
    fp8_tflops: float = 0.0  # 0: computed as the next higher precision that it has
    fp4_tflops: float = 0.0
    memory_gb: float
    bandwidth_tb_s: float
    link_gb_s: float = 0.0  # to its neighbours, one direction
    devices: int = 8  # at most so many share a model
    tdp_w: float = 0.0
    host_w: float = 0.0  # its share of the server around it
    price_usd: float | None = None  # of the device with its share of the server
    rent_usd_h: float | None = None
    embodied_kg: float = 0.0  # CO2e of making it, its share of the server included
    priced: str = ""  # when and by whom
    source: str = ""
    aliases: tuple[str, ...] = ()

    def flops(self, precision: str) -> float:
        """Return FLOP/s at `precision`; weights of 4-bit integers are multiplied as bf16."""
        best = {"bf16": (self.bf16_tflops,), "int4": (self.bf16_tflops,)}
        wanted = best.get(precision, (self.fp4_tflops,) * (precision == "fp4") + (self.fp8_tflops, self.bf16_tflops))
        return next(one for one in wanted if one) * 1e12


def weight_bits(precision: str) -> float:
    """Return the bits of a weight; raise `ConfigError` naming the precisions that exist."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision!r} does not exist; there are: {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]
