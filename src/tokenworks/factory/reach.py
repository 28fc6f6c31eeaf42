"""How far an erasure reaches: requests, feedback, documents, what was made of them, and the models that learned it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from tokenworks.core.errors import ConfigError, NotFoundError
from tokenworks.core.ids import pseudonym
from tokenworks.factory.house import House
from tokenworks.ledger.bodies import named
from tokenworks.ledger.entries import FeedbackEntry, RequestEntry
from tokenworks.ledger.reader import read
from tokenworks.line.descent import Origin, files_of, learned_from, naming, reading, texts_made_of
from tokenworks.store.catalog import Catalog
from tokenworks.store.nouns import StageResult

KIND = "erasure"  # of the journals among the catalog's objects


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Whose or which texts: a user's pseudonym with the tenant, a request, or a document as "source/path"."""

    tenant: str = ""
    user: str = ""
    request: str = ""
    document: str = ""

    @property
    def source(self) -> str:
        """The source of the document."""
        return self.document.partition("/")[0]

    @property
    def path(self) -> str:
        """Its path in there."""
        return self.document.partition("/")[2]

    @property
    def document_pseudonym(self) -> str:
        """What the ledger calls it: paths may name people, and the ledger keeps everything for ever."""
        return pseudonym("document", self.document)


def target_of(*, user: str = "", tenant: str = "default", request: str = "", document: str = "") -> Target:
    """Return the target that a person names; `user` is the name that the caller sent. Raises `ConfigError`."""
    if sum(map(bool, (user, request, document))) != 1:
        raise ConfigError("name one thing to erase: --user NAME, --request ID or --document SOURCE/PATH")
    if document and not all(document.partition("/")[::2]):
        raise ConfigError(f"--document {document}: write SOURCE/PATH, as search returns it in file_id")
    if user:
        return Target(tenant=tenant, user=pseudonym(tenant, user))
    return Target(request=request) if request else Target(document=document)


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure and how far it is."""

    erasure_id: str
    target: Target
    at: float  # what came later is not meant
    by: str = ""
    requests: int = 0
    feedback: int = 0
    artifacts: tuple[str, ...] = ()  # derived copies
    versions: tuple[str, ...] = ()
    done: bool = False


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an erasure touches."""

    target: Target  # with the tenant of the request
    requests: tuple[str, ...] = ()
    names: tuple[str, ...] = ()  # of their texts
    users: frozenset[str] = frozenset()  # whose texts these are: pseudonyms
    feedback: tuple[str, ...] = ()
    documents: tuple[Origin, ...] = ()
    artifacts: tuple[str, ...] = ()
    shared: frozenset[str] = frozenset()  # files that folders without the texts consist of as well


def journals(catalog: Catalog) -> list[Journal]:
    """Return every erasure there was, oldest first."""
    return [msgspec.convert(one.body, Journal) for one in catalog.objects.of(KIND)]


def reach(house: House, target: Target, *, until: float, known: Collection[str] = ()) -> Reach:
    """Return what erasing `target` touches, of all that is from before `until`; `known` are copies found earlier.

    Raises `NotFoundError` where nothing of it was ever here.
    """
    results = house.catalog.stages.all()
    if target.document:
        return _of_document(house, target, results, known)
    found, about = _on_the_ledger(house, target, until)
    named = naming(results, house.artifacts, [each.encode() for each in about])
    return msgspec.structs.replace(found, artifacts=copies(house, results, named | set(known)))


def learned(catalog: Catalog, texts: Collection[str]) -> tuple[str, ...]:
    """Return every model version that learned from the artifacts `texts`, as name@version."""
    keys = learned_from(catalog.stages.all(), texts) if texts else set()
    versions = [one for name in catalog.models.names() for one in catalog.models.of(name)]
    return tuple(one.ref for one in versions if one.stage_key in keys)


def released_among(catalog: Catalog, versions: Iterable[str]) -> tuple[str, ...]:
    """Return those of `versions` that answer now."""
    current = {f"{one.model}@{one.version}" for one in catalog.releases.all_current() if one.version}
    return tuple(ref for ref in versions if ref in current)


def _on_the_ledger(house: House, target: Target, until: float) -> tuple[Reach, set[str]]:
    """Return requests and feedback to erase, and the requests that copies of them are found by."""
    requests, given = dict[str, RequestEntry](), list[FeedbackEntry]()
    for _, entry in read(house.ledger_root):
        if isinstance(entry, RequestEntry) and entry.at <= until and _is_meant(entry, target):
            requests[entry.request_id] = entry
        elif isinstance(entry, FeedbackEntry):
            given.append(entry)
    theirs = [one for one in given if one.request_id in requests or (one.at <= until and _gave(one, target))]
    if not requests and not theirs:
        whose = f"request {target.request}" if target.request else f"a request of that user of tenant {target.tenant}"
        raise NotFoundError(f"{whose} is not on the ledger; see: tokenworks ledger tail")
    tenant = target.tenant or next(iter(requests.values())).tenant
    found = Reach(
        target=msgspec.structs.replace(target, tenant=tenant),
        requests=tuple(requests),
        names=tuple(named(one.tenant, one.request_id) for one in requests.values()),
        users=frozenset([*(one.user for one in requests.values()), *(one.user for one in theirs)]),
        feedback=tuple(one.feedback_id for one in theirs),
    )
    return found, {*requests, *(one.request_id for one in theirs)}


def _is_meant(entry: RequestEntry, target: Target) -> bool:
    if target.request:
        return entry.request_id == target.request
    return (entry.tenant, entry.user) == (target.tenant, target.user)


def _gave(entry: FeedbackEntry, target: Target) -> bool:
    return bool(target.user) and (entry.tenant, entry.user) == (target.tenant, target.user)


def _of_document(house: House, target: Target, results: list[StageResult], known: Collection[str]) -> Reach:
    texts, origins = reading(results, house.artifacts, target.source, target.path)
    if not origins:
        raise NotFoundError(
            f"document {target.document} was never read here; name it as search does, in file_id: SOURCE/PATH"
        )
    made = copies(house, results, texts | set(known))
    gone = set(made)
    stages = {one.stage for one in results if not gone.isdisjoint(one.outputs.values())}
    others = {d for one in results if one.stage in stages for d in one.outputs.values()} - gone
    shared = frozenset(file for digest in others for file in files_of(house.artifacts, digest))
    documents = tuple(sorted(origins, key=lambda one: (one.path, one.file)))
    return Reach(target=target, documents=documents, artifacts=made, shared=shared)


def copies(house: House, results: list[StageResult], roots: set[str]) -> tuple[str, ...]:
    """Return the artifacts with texts made of `roots`; an empty file holds no text of anybody."""
    found = texts_made_of(results, roots)
    return tuple(sorted(digest for digest in found if not house.artifacts.has(digest) or house.artifacts.size(digest)))
