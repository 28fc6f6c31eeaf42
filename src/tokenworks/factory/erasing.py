"""The right to be forgotten: find what somebody wrote, make it gone from disk, and say which models had learned it.

Every step can be done again. A journal in the catalog says what was begun, so that a killed erasure is finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tokenworks.core.errors import NotFoundError
from tokenworks.core.files import locked
from tokenworks.core.ids import new_id
from tokenworks.factory.batch_files import cut_out, cuts
from tokenworks.factory.due import mark
from tokenworks.factory.holding import refuse_held
from tokenworks.factory.house import House
from tokenworks.factory.reach import KIND, Journal, Reach, Target, journals, learned, reach, released_among
from tokenworks.factory.scratch import sweep
from tokenworks.ledger.entries import ErasureEntry
from tokenworks.ledger.reader import read
from tokenworks.line.descent import files_of
from tokenworks.line.ingest.cache import Cache
from tokenworks.line.recipes import EXCLUDED
from tokenworks.retrieval.index import Index
from tokenworks.store.nouns import Object

AGAIN_S = 2 * 86_400.0  # what ran while an erasure did may have written after it: for so long it is done again
ROUNDS = 5


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure came to, or would come to."""

    erasure_id: str
    requests: int
    feedback: int
    documents: int
    artifacts: int  # derived copies: datasets, corpora
    versions: tuple[str, ...]  # model versions that had learned from it
    released: tuple[str, ...]  # those of them that answer now: their tasks are due to turn


def look(house: House, target: Target) -> Erased:
    """Return what erasing `target` would come to; changes nothing. Raises `NotFoundError` where there is nothing."""
    found = reach(house, target, until=house.clock.now())
    versions = learned(house.catalog, found.artifacts)
    return Erased(
        erasure_id="",
        requests=len(found.requests),
        feedback=len(found.feedback),
        documents=len(found.documents),
        artifacts=len(found.artifacts),
        versions=versions,
        released=released_among(house.catalog, versions),
    )


def erase(house: House, target: Target, *, by: str) -> Erased:
    """Erase what `target` names and return what that came to. Done again, it finds nothing left to do.

    Raises `NotFoundError` where nothing of it was ever here, `RefusedError` where a legal hold covers it.
    """
    with locked(house.home / "work" / "erasing.lock"):
        now = house.clock.now()
        found = reach(house, target, until=now)
        refuse_held(house, found)
        before = [one for one in journals(house.catalog) if one.target == found.target]
        if before and (before[-1].requests, before[-1].feedback) == (len(found.requests), len(found.feedback)):
            return _Erasing(house, before[-1]).run()
        journal = Journal(
            erasure_id=new_id("er"),
            target=found.target,
            at=now,
            by=by,
            requests=len(found.requests),
            feedback=len(found.feedback),
        )
        body = msgspec.to_builtins(journal)
        house.catalog.objects.add(
            Object(kind=KIND, id=journal.erasure_id, scope=found.target.tenant, body=body, created_at=now)
        )
        return _Erasing(house, journal).run()


def resume(house: House) -> list[Erased]:
    """Finish what a kill left, and look once more after those of the last days: what was running then has ended."""
    with locked(house.home / "work" / "erasing.lock"):
        since = house.clock.now() - AGAIN_S
        open_ones = [one for one in journals(house.catalog) if not one.done or one.at > since]
        return [_Erasing(house, one).run() for one in open_ones]


def unlearned(house: House) -> dict[str, str]:
    """Return alias -> released version, of those that still have learned from erased data."""
    versions = learned(house.catalog, _gone(house, [each for one in journals(house.catalog) for each in one.artifacts]))
    return {ref.partition("@")[0]: ref for ref in released_among(house.catalog, versions)}


def _gone(house: House, artifacts: Sequence[str]) -> set[str]:
    """Return those that did not come back: what was made again, without what was erased, holds nothing of it."""
    return {digest for digest in artifacts if not house.artifacts.has(digest)}


@dataclass
class _Erasing:
    """One erasure on its way."""

    house: House
    journal: Journal

    def run(self) -> Erased:
        found = self._find()
        for _ in range(ROUNDS):  # until what came meanwhile is gone too
            self._texts(found)
            self._batches(found)
            self._documents(found)
            self._derived(found)
            before, found = found, self._find()
            if found.artifacts == before.artifacts and len(found.requests) == len(before.requests):
                break
        sweep(self.house.home / "work")
        versions = learned(self.house.catalog, _gone(self.house, self.journal.artifacts))
        released = released_among(self.house.catalog, versions)
        self._schedule(released)
        self._save(requests=len(found.requests), feedback=len(found.feedback), versions=versions)
        self._record(found)
        self._save(done=True)
        return Erased(
            erasure_id=self.journal.erasure_id,
            requests=len(found.requests),
            feedback=len(found.feedback),
            documents=len(found.documents),
            artifacts=len(self.journal.artifacts),
            versions=versions,
            released=released,
        )

    def _find(self) -> Reach:
        """Return what is still there, and keep what it was made into before that can no longer be found out."""
        found = reach(self.house, self.journal.target, until=self.journal.at, known=self.journal.artifacts)
        if set(found.artifacts) - set(self.journal.artifacts):
            self._save(artifacts=tuple(sorted({*self.journal.artifacts, *found.artifacts})))
        return found

    def _texts(self, found: Reach) -> None:
        """Overwrite them here; the subject's key too, so that copies in backups cannot be read any more."""
        self.house.bodies.erase_requests(found.names)
        self.house.bodies.erase_corrections(found.feedback)
        target = self.journal.target
        if target.user:
            self.house.bodies.erase_subject(target.tenant, target.user, until=self.journal.at)

    def _batches(self, found: Reach) -> None:
        """Out of the files of batches; their old bytes go with the other copies."""

        def going(digest: str) -> None:
            self._save(artifacts=tuple(sorted({*self.journal.artifacts, digest})))

        for cut in cuts(self.house, found.target.tenant, found.requests):
            cut_out(self.house, cut, because=self.journal.erasure_id, going=going)

    def _documents(self, found: Reach) -> None:
        """Out of every later reading first, then out of the index and of what was read before."""
        target = self.journal.target
        if not target.document:
            return
        objects = self.house.catalog.objects
        if objects.get(EXCLUDED, target.document) is None:
            body = {"erasure_id": self.journal.erasure_id}
            objects.add(
                Object(kind=EXCLUDED, id=target.document, scope=target.source, body=body, created_at=self.journal.at)
            )
        if (self.house.home / "index").is_dir():
            index = Index.open(self.house.home / "index")
            index.erase(target.source, target.path)
            index.close()
        folder = self.house.home / "cache" / "ingest"
        if folder.is_dir():
            cache = Cache(folder)
            for file in sorted({origin.file for origin in found.documents}):
                cache.forget(file.encode())
            cache.close()

    def _derived(self, found: Reach) -> None:
        artifacts, because = self.house.artifacts, self.journal.erasure_id
        for digest in self.journal.artifacts:
            for each in sorted(files_of(artifacts, digest) - found.shared):
                artifacts.erase(each, because=because)
            if artifacts.has(digest):
                artifacts.erase(digest, because=because)

    def _schedule(self, released: Sequence[str]) -> None:
        """Have the tasks turn whose released version learned from what is gone."""
        for ref in released:
            mark(
                self.house.catalog,
                ref.partition("@")[0],
                now=self.house.clock.now(),
                erasure=self.journal.erasure_id,
                versions=[ref],
            )

    def _record(self, found: Reach) -> None:
        """Write the ledger's entry, once."""
        id = self.journal.erasure_id
        if any(isinstance(one, ErasureEntry) and one.erasure_id == id for _, one in read(self.house.ledger_root)):
            return
        target = self.journal.target
        self.house.ledger.append(
            ErasureEntry(
                at=self.journal.at,
                erasure_id=id,
                tenant=target.tenant,
                user=target.user,
                request_id=target.request,
                document=target.document_pseudonym,
                requests=len(found.requests),
                versions=self.journal.versions,
                by=self.journal.by,
            )
        )

    def _save(self, **changes: object) -> None:
        self.journal = msgspec.structs.replace(self.journal, **changes)
        objects = self.house.catalog.objects
        before = objects.get(KIND, self.journal.erasure_id)
        if before is None:
            raise NotFoundError(f"erasure {self.journal.erasure_id} is not in the catalog any more; ask for it again")
        objects.update(msgspec.structs.replace(before, body=msgspec.to_builtins(self.journal)))
