"""What one attempt to be answered sent and received, counted at the socket while it happens."""

from __future__ import annotations

from tokenworks.core.destination import Destination


class Traffic:
    """Bytes of HTTP, heads included, handed to and read from the socket of one attempt.

    Opened before anything is sent, so that attempts that fail or are cut off count as far as they came.
    """

    __slots__ = ("address", "destination", "received_bytes", "sent_bytes")

    def __init__(self, destination: Destination, address: str = "") -> None:
        self.destination = destination
        self.address = address  # host:port, where it is not an engine of ours
        self.sent_bytes = 0
        self.received_bytes = 0
