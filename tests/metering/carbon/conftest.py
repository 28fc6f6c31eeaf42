"""Carbon is counted from the same entries as money."""

from metering.money.conftest import request_entry

__all__ = ["request_entry"]
