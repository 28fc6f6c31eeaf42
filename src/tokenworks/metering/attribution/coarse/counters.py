"""A vLLM server's metrics page, as far as it says what was worked: counters by model and engine, and what is running.

Names and meanings: vllm/v1/metrics/loggers.py and stats.py of vLLM. A prompt is counted when it has been read to its
end, with what a cache had of it; a token when it is written; `iteration_tokens_total` is observed once a step.
"""

from __future__ import annotations

import math
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, NamedTuple
from urllib.parse import urlsplit

from tokenworks.core.errors import ConfigError
from tokenworks.metering.source import MeterError

PATIENCE_S = 2.0
MOST_BYTES = 4 << 20  # a page with every histogram of eight engines is a tenth of it
PROMPT, GENERATED = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
CACHED = "vllm:prompt_tokens_cached_total"
HITS = "vllm:prefix_cache_hits_total"  # in the place of CACHED, where a server is older
STEPS = "vllm:iteration_tokens_total_count"
RUNNING = "vllm:num_requests_running"
STARTED = "process_start_time_seconds"
_WANTED = (PROMPT, GENERATED, CACHED, HITS, STEPS, RUNNING, STARTED)
Series = tuple[tuple[str, str], ...]  # labels, in order


class Count(NamedTuple):
    """What one engine has worked for one model. All of it only grows."""

    prompt: float = 0.0  # tokens
    cached: float = 0.0  # of them, that were not worked out anew
    generated: float = 0.0
    steps: float = 0.0  # 0 where the server does not say


class Counters(NamedTuple):
    """One look at the page."""

    counts: Mapping[Series, Count]
    running: float
    started: float = 0.0  # Unix time of the server's start; 0: it does not say


class Moved(NamedTuple):
    """What was worked between two looks."""

    prompt: float = 0.0
    computed: float = 0.0  # of the prompts, what no cache had
    generated: float = 0.0
    steps: float = 0.0
    anew: bool = False  # the server was started again meanwhile: what it had done before that is not in here

    def plus(self, other: Moved) -> Moved:
        """Return both together."""
        return Moved(
            self.prompt + other.prompt,
            self.computed + other.computed,
            self.generated + other.generated,
            self.steps + other.steps,
            self.anew or other.anew,
        )


class VllmPage:
    """The page of one server. Asked directly, without proxy, password or redirect, as remote engines are."""

    def __init__(self, url: str) -> None:
        self._request = urllib.request.Request(url, headers={"accept": "text/plain"})
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
        self._url = url

    def read(self) -> Counters:
        """Return what it says now; raise `MeterError` where it does not answer, or not as vLLM does."""
        try:
            with self._opener.open(self._request, timeout=PATIENCE_S) as answer:
                body = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise MeterError(f"{self._url} answered {error.code}") from None
        except (OSError, HTTPException) as error:
            raise MeterError(f"{self._url} cannot be asked: {error}") from None
        if len(body) > MOST_BYTES:
            raise MeterError(f"{self._url} answered more than {MOST_BYTES >> 20} MiB, which is no metrics page")
        try:
            return parse(body.decode())
        except (MeterError, UnicodeDecodeError) as error:
            raise MeterError(f"{self._url}: {error}") from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def check_url(url: str, where: str) -> str:
    """Return `url` where it can be a metrics page; raise `ConfigError` naming `where` it stands."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError as error:
        raise ConfigError(f"{where} {url!r}: {error}; write it like http://host:8000/metrics") from None
    if not known:
        raise ConfigError(f"{where} {url!r} is not an http(s) URL; write it like http://host:8000/metrics")
    if parts.username or parts.query or parts.fragment:
        raise ConfigError(f"{where} for host {parts.hostname!r} may hold no user, query or fragment")
    return url


def parse(text: str) -> Counters:
    """Return what a page in the Prometheus text format says; raise `MeterError` where it is none of vLLM's."""
    from prometheus_client.parser import text_string_to_metric_families  # loaded by servers that meter one

    kept = [line for line in text.splitlines() if line.startswith(_WANTED)]  # most of the page is buckets
    counts: dict[Series, dict[str, float]] = {}
    running = started = 0.0
    found = set()
    try:
        for family in text_string_to_metric_families("\n".join(kept) + "\n"):
            for sample in family.samples:
                if sample.name not in _WANTED:
                    continue
                value = float(sample.value)
                if not math.isfinite(value) or value < 0:
                    raise MeterError(f"{sample.name} says {value}, which no counter can mean")
                found.add(sample.name)
                if sample.name == RUNNING:
                    running += value
                elif sample.name == STARTED:
                    started = max(started, value)
                else:
                    row = counts.setdefault(tuple(sorted(sample.labels.items())), {})
                    row[sample.name] = row.get(sample.name, 0.0) + value
    except ValueError as error:
        raise MeterError(f"the metrics page cannot be read: {error}") from None
    missing = {PROMPT, GENERATED, RUNNING} - found
    if missing:
        raise MeterError(
            f"the metrics page has no {', '.join(sorted(missing))}; is it vLLM's, started without --disable-log-stats?"
        )
    return Counters({series: _count(row) for series, row in counts.items()}, running, started)


def moved(before: Counters, now: Counters) -> Moved:
    """Return what was worked between two looks.

    A counter below what it was, or a server with another start, has begun anew from 0: what it says now is then the
    least that was worked, as Prometheus' `increase` has it.
    """
    restarted = bool(before.started and now.started and abs(now.started - before.started) > 1.0)
    total = Moved()
    for series, count in now.counts.items():
        old = before.counts.get(series, Count())
        anew = restarted or any(one < was for one, was in zip(count, old, strict=True))
        grown = count if anew else Count(*[one - was for one, was in zip(count, old, strict=True)])
        computed = max(grown.prompt - grown.cached, 0.0)
        total = total.plus(Moved(grown.prompt, computed, grown.generated, grown.steps, anew))
    return total


def _count(row: Mapping[str, float]) -> Count:
    cached = row.get(CACHED, row.get(HITS, 0.0))
    return Count(row.get(PROMPT, 0.0), cached, row.get(GENERATED, 0.0), row.get(STEPS, 0.0))
