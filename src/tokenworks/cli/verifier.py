"""Whose signature on the ledger a command believes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokenworks.cli.context import Context

if TYPE_CHECKING:
    from tokenworks.ledger.note import VerifierKey

VKEY = "Verifier key NAME+ID+BASE64, or a file with it [default: this home's]."


def verifier(ours: Context, written: str | None) -> VerifierKey:
    """Return the key that was given, as itself or in a file, or else this home's."""
    from tokenworks.ledger.note import VerifierKey
    from tokenworks.ledger.signing import PUBLIC, read_verifier

    if written is None:
        return read_verifier(ours.settings.home_path / "keys" / PUBLIC)
    return VerifierKey.parse(written) if "+" in written else read_verifier(Path(written))
