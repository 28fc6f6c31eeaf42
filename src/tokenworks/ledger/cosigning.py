"""The log's side of a witness over HTTP: send proofs of growth, keep what it cosigned, cry out when it refuses."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tokenworks.core.errors import ConfigError, IntegrityError, StoreError
from tokenworks.core.files import write_atomic
from tokenworks.ledger import heads
from tokenworks.ledger.checkpoint import Checkpoint
from tokenworks.ledger.note import Note, VerifierKey
from tokenworks.ledger.proof import prove_growth
from tokenworks.ledger.reader import writers
from tokenworks.ledger.tiles import Tiles
from tokenworks.ledger.witness import CHECKPOINT, PUBLIC, remember
from tokenworks.ledger.witness_http import SIZE_TYPE, folder_name

PATIENCE_S = 15.0
MAX_ANSWER_BYTES = 64 << 10


class Told(NamedTuple):
    """What a witness answered."""

    status: int
    kind: str
    text: str


class Cosigner:
    """The witness at `url`, known by its `key`; what it cosigned is kept in `folder`, as a witness's own folder is."""

    def __init__(self, url: str, key: VerifierKey, folder: Path) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"witness {url!r}: write it like https://witness.example.org")
        self._parts, self._key, self._folder = parts, key, folder
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / PUBLIC, f"{key}\n".encode())

    def cosign(self, root: Path, views: Path) -> dict[str, int]:
        """Have the newest checkpoint of every writer cosigned; return those that had grown, with their sizes.

        Raises `IntegrityError` where the witness has seen another past, `StoreError` where it does not answer.
        """
        grown = {}
        for writer in writers(root):
            written = heads.read_head(root / writer / heads.LATEST).checkpoint
            if not written:
                raise IntegrityError(f"ledger of {writer}: not signed yet; run 'tokenworks ledger sign'")
            newest = Checkpoint.read(Note.parse(written))
            if newest.size and newest != self._last(newest.origin):
                self._grow(Tiles(root / writer, views / writer), newest, written)
                grown[writer] = newest.size
        return grown

    def _grow(self, tiles: Tiles, newest: Checkpoint, written: str) -> None:
        last = self._last(newest.origin)
        old = last.size if last else 0
        told = self._post(prove_growth(tiles, min(old, newest.size), written))
        if told.status == 409 and told.kind == SIZE_TYPE and told.text.strip().isdecimal():
            seen = int(told.text)  # it knows another size than we remember: after a kill, or a restored home
            if seen > newest.size:
                raise IntegrityError(
                    f"witness {self._key.name} saw {seen} entries of {newest.origin} where the log has {newest.size}: "
                    "the ledger was rolled back"
                )
            told = self._post(prove_growth(tiles, seen, written))
        if told.status in (403, 409, 422):
            raise IntegrityError(f"witness {self._key.name} refused {newest.origin}: {told.text.strip()[:500]}")
        if told.status != 200:
            raise StoreError(f"witness {self._key.name} answered {told.status}: {told.text.strip()[:200]}")
        self._keep(newest, Note.parse(written.rstrip("\n") + "\n" + told.text))

    def _keep(self, newest: Checkpoint, cosigned: Note) -> None:
        at = self._key.verified(cosigned)
        if at is None:
            raise IntegrityError(f"the answer of {self._key.name} bears no cosignature of that key: is it right?")
        folder = self._folder / folder_name(newest.origin)
        folder.mkdir(exist_ok=True)
        remember(folder, newest, cosigned, at)

    def _last(self, origin: str) -> Checkpoint | None:
        path = self._folder / folder_name(origin) / CHECKPOINT
        return Checkpoint.read(Note.parse(path.read_text(encoding="utf-8"))) if path.exists() else None

    def _post(self, body: str) -> Told:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=PATIENCE_S)
        try:
            connection.request("POST", f"{self._parts.path.rstrip('/')}/add-checkpoint", body.encode())
            answer = connection.getresponse()
            text = answer.read(MAX_ANSWER_BYTES).decode(errors="replace")
            return Told(answer.status, answer.headers.get_content_type(), text)
        except (OSError, http.client.HTTPException) as error:
            raise StoreError(f"witness at {self._parts.netloc}: {error}; it is asked again at the next look") from None
        finally:
            connection.close()
