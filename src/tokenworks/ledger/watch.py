"""What a witness does on the machine of the log: look at each writer's newest checkpoint, and cosign or cry out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from tokenworks.core.errors import IntegrityError
from tokenworks.ledger import heads
from tokenworks.ledger.checkpoint import Checkpoint, origin_of
from tokenworks.ledger.note import Note
from tokenworks.ledger.proof import prove_growth
from tokenworks.ledger.reader import writers
from tokenworks.ledger.signing import read_verifier
from tokenworks.ledger.tiles import Tiles
from tokenworks.ledger.verify import Anchor, Problem, verify_writer
from tokenworks.ledger.witness import PUBLIC, Witness, read_history


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a ledger showed."""

    sizes: dict[str, int]  # writer -> entries that are cosigned now
    cosigned: tuple[str, ...]  # writers that had grown
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether every log holds all that was seen of it."""
        return not self.problems


def look(root: Path, folder: Path, witness: Witness) -> Look:
    """Cosign the newest checkpoint of every writer below `root`; what is wrong is reported, not raised.

    `folder` is the witness's own; it keeps its own copy of the tree's inner hashes there.
    """
    sizes, cosigned, problems = dict[str, int](), [], list[Problem]()
    for writer in sorted({*writers(root), *_known(folder, witness)}):
        origin = origin_of(witness.log_key.name, writer)
        seen = witness.last(origin)
        old = seen.checkpoint.size if seen else 0
        try:
            size = _cosign(root / writer, witness, origin, seen.checkpoint if seen else None)
        except IntegrityError as error:
            sizes[writer] = old
            problems += _located(root / writer, witness, origin, error)
            continue
        sizes[writer] = size
        if size != old:
            cosigned.append(writer)
    return Look(sizes=sizes, cosigned=tuple(cosigned), problems=tuple(problems))


def remembered(folders: Iterable[Path]) -> dict[str, list[Anchor]]:
    """Return what the witnesses with those folders remember of each writer, to verify by. Needs no secret.

    Raises `NotFoundError` for a folder that is no witness's.
    """
    found = dict[str, list[Anchor]]()
    for folder in folders:
        name = read_verifier(folder / PUBLIC).name
        for path in sorted(folder.glob("*/checkpoint")):
            writer = Checkpoint.read(Note.parse(path.read_text(encoding="utf-8"))).origin.rpartition("/")[2]
            found.setdefault(writer, []).extend(read_history(path.parent, name))
    return found


def _cosign(log: Path, witness: Witness, origin: str, seen: Checkpoint | None) -> int:
    head = heads.read_head(log / heads.LATEST)
    if not head.checkpoint:
        raise IntegrityError(f"the tree head of {head.size} entries is not signed")
    newest = Checkpoint.read(Note.parse(head.checkpoint))
    if newest.origin != origin:
        raise IntegrityError(f"the checkpoint there is that of {newest.origin}")
    if newest == seen or not newest.size:
        return newest.size
    tiles = Tiles(log, witness.folder_of(origin) / "tiles")
    if seen is None or newest.size >= seen.size:
        witness.add(prove_growth(tiles, seen.size if seen else 0, head.checkpoint))
    else:
        witness.add(f"old {seen.size}\n\n{head.checkpoint}")  # which refuses, and keeps it as evidence
    return newest.size


def _located(log: Path, witness: Witness, origin: str, error: IntegrityError) -> list[Problem]:
    """Return where the log differs from what the witness saw, and what it was refused for."""
    refused = Problem(writer=log.name, file=heads.LATEST, index=0, what=str(error))
    return [refused, *verify_writer(log, witness.log_key, witness.history(origin)).problems]


def _known(folder: Path, witness: Witness) -> list[str]:
    """Return the writers whose logs it has seen: of a log that is gone, only this tells."""
    return [writer for writer in remembered([folder]) if witness.last(origin_of(witness.log_key.name, writer))]
