"""Every file of the listing gets its result into the cache, by workers where it is not there yet."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tokenworks.core.stage import Progress
from tokenworks.line.ingest.cache import Cache
from tokenworks.line.ingest.listing import Listing, Outcome
from tokenworks.line.ingest.messages import Chunk, Done, Hello, Job
from tokenworks.line.ingest.pool import Pool

_COMMIT_S = 0.5  # work that a kill may cost
_RACY_S = 2.0  # a file younger than this may change again without its time showing it


class Collector:
    """One pass over a listing."""

    def __init__(self, listing: Listing, total: int, cache: Cache, hello: Hello, progress: Progress) -> None:
        self._listing = listing
        self._total = total
        self._cache = cache
        self._hello = hello
        self._progress = progress
        self._done = 0
        self.cached = 0
        self._started_s = self._committed_s = self._shown_s = time.monotonic()

    def run(self, processes: int) -> None:
        """Settle every entry; a file that cannot be read is settled with its reason."""
        pool = Pool(self._hello, processes, self._hello.limits.timeout_s)
        pool.run(self._jobs(), self._on_chunk, self._on_done)
        self._cache.commit()
        self._progress(self._done, self._total, unit="files", note=self._rate())

    def _jobs(self) -> Iterator[Job]:
        for number, entry in self._listing.entries():
            if entry.reason:
                self._settle(number, Outcome(reason=entry.reason, detail=entry.detail))
            elif key := self._cache.recall(entry.absolute, entry.size, entry.mtime_ns, self._hello.config):
                self.cached += 1
                self._settle(number, Outcome(key=key))
            else:
                yield Job(number, entry.absolute, entry.path, entry.size)

    def _on_chunk(self, chunk: Chunk) -> None:
        self._cache.put_chunk(chunk.key, chunk.seq, chunk.data)

    def _on_done(self, done: Done) -> None:
        if done.reason:
            self._settle(done.number, Outcome(reason=done.reason, detail=done.detail))
            return
        self.cached += done.cached
        if not done.cached:
            self._cache.finish(done.key, done.chunks)
        entry = self._listing.entry(done.number)
        if time.time_ns() - entry.mtime_ns > _RACY_S * 1e9:
            self._cache.remember(entry.absolute, entry.size, entry.mtime_ns, self._hello.config, done.key)
        self._settle(done.number, Outcome(key=done.key))

    def _settle(self, number: int, outcome: Outcome) -> None:
        self._listing.settle(number, outcome)
        self._done += 1
        now = time.monotonic()
        if now - self._committed_s > _COMMIT_S:
            self._cache.commit()
            self._committed_s = now
        if now - self._shown_s > 0.1:
            self._progress(self._done, self._total, unit="files", note=self._rate())
            self._shown_s = now

    def _rate(self) -> str:
        seconds = time.monotonic() - self._started_s
        return f"{self._done / seconds:,.0f} files/s" if seconds > 0 else ""
