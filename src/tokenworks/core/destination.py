"""Where text may be sent: an engine of this site, or a server elsewhere."""

from __future__ import annotations

import msgspec

HERE = "here"


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """A place that answers, as policy sees it."""

    name: str  # how operators call it: the version of an engine here, the name of a server elsewhere
    region: str = HERE
    clearance: str = "restricted"  # the highest label of text that may go there
    price_in: float = 0.0  # per million tokens of prompts
    price_out: float = 0.0  # per million tokens of answers

    @property
    def leaves_site(self) -> bool:
        """Whether what goes there leaves the organisation's own machines."""
        return self.region != HERE
