"""Tells systemd how a service is (sd_notify(3)): a datagram to the socket that it names."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(where: str, state: str) -> None:
    """Send `state` (`READY=1`, `STOPPING=1`) to the socket at `where`; an empty `where` is nobody.

    Serving does not depend on being heard: what cannot be sent is not sent.
    """
    if not where:
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(f"{state}\nMAINPID={os.getpid()}".encode(), address)


def reloading() -> str:
    """Return the state to send when a reload begins; systemd 253 wants the time with it."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"
