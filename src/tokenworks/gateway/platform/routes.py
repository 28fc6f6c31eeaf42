"""The platform put together: which path is answered by what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tokenworks.core.request import Answerer
from tokenworks.gateway.exchange import Layer, Routes
from tokenworks.gateway.fold import fold
from tokenworks.gateway.layers.service import ACTIONS
from tokenworks.gateway.platform.batches import Batches
from tokenworks.gateway.platform.batches import reads as batch_reads
from tokenworks.gateway.platform.batching import Batching
from tokenworks.gateway.platform.call import endpoint
from tokenworks.gateway.platform.elsewhere import Runner, worker
from tokenworks.gateway.platform.evals import Evals
from tokenworks.gateway.platform.files import Files
from tokenworks.gateway.platform.filing import Filing
from tokenworks.gateway.platform.jobs import Jobs, needs
from tokenworks.gateway.platform.parts import Parts
from tokenworks.gateway.platform.running import Running, reads
from tokenworks.gateway.platform.runs import Runs
from tokenworks.gateway.releases import Releases

USERS = (needs, reads, batch_reads)  # who may still need a file


class Resumed(Runner, Protocol):
    """Who works in the background, and goes on after a restart."""

    async def resume(self) -> None:
        """Take up what the last process left."""
        ...

    async def close(self) -> None:
        """Stop; it goes on at the next start."""
        ...


@dataclass(frozen=True)
class Platform:
    """Files, fine-tuning jobs, evals and batches, ready to answer, and what works on them in the background."""

    routes: Routes
    running: Running
    batching: Batching
    background: Resumed  # works on responses that nobody waits for

    async def resume(self) -> None:
        """Take up what the last process left."""
        await self.running.resume()
        await self.batching.resume()
        await self.background.resume()

    async def close(self) -> None:
        """Stop working in the background; it goes on at the next start."""
        await self.running.close()
        await self.batching.close()
        await self.background.close()


def platform(
    parts: Parts, releases: Releases, answer: Answerer, in_flight: Callable[[], int], background: Resumed
) -> Platform:
    """Return the platform; `answer` asks models in the name of the key whose id a request carries.

    `in_flight` says how many requests are under way: batches give way to others.
    """
    files = Files(
        parts.objects,
        parts.artifacts,
        scratch=parts.scratch,
        max_bytes=int(parts.settings.max_file_mb * 1e6),
        busy=lambda tenant, file: next(filter(None, (ask(parts.objects, tenant, file) for ask in USERS)), ""),
        needed=parts.needed,
        clock=parts.clock,
    )
    jobs = Jobs(parts.objects, files, releases, wake=parts.wake, clock=parts.clock)
    running = Running(
        parts.objects,
        parts.artifacts,
        releases,
        answer,
        clock=parts.clock,
        concurrency=parts.settings.eval_concurrency,
    )
    evals = Evals(parts.objects, releases, clock=parts.clock)
    runs = Runs(parts.objects, evals, files, releases, worker(parts.elsewhere, "run", running), clock=parts.clock)
    batching = Batching(
        parts.objects,
        Filing(parts.objects, parts.artifacts, parts.clock),
        answer,
        folder=parts.scratch.parent / "batches",
        in_flight=in_flight,
        concurrency=parts.settings.batch_concurrency,
        clock=parts.clock,
        may_start=parts.may_start,
        within_s=parts.batches_within_s,
    )
    batches = Batches(parts.objects, files, worker(parts.elsewhere, "batch", batching), clock=parts.clock)
    routes = {**_files(files), **_jobs(jobs), **_evals(evals), **_runs(runs), **_batches(batches)}
    return Platform(routes, running, batching, background)


def platform_face(platform: Platform, allowed: Callable[[str], Sequence[Layer]]) -> Routes:
    """Return the routes as they are asked from outside; `allowed` are the layers that let in who may do an action."""
    return {place: (name, fold(allowed(ACTIONS[name]), handle)) for place, (name, handle) in platform.routes.items()}


def _files(files: Files) -> Routes:
    at = "/v1/files"
    return {
        ("POST", at): ("files", files.upload),
        ("GET", at): ("files", endpoint("files", files.list)),
        ("GET", f"{at}/*"): ("files", endpoint("files", files.get)),
        ("DELETE", f"{at}/*"): ("files", endpoint("files", files.delete)),
        ("GET", f"{at}/*/content"): ("files", files.content),
    }


def _jobs(jobs: Jobs) -> Routes:
    at = "/v1/fine_tuning/jobs"
    return {
        ("POST", at): ("fine_tuning", jobs.create),
        ("GET", at): ("fine_tuning", endpoint("tune", jobs.list)),
        ("GET", f"{at}/*"): ("fine_tuning", endpoint("tune", jobs.get)),
        ("POST", f"{at}/*/cancel"): ("fine_tuning", endpoint("tune", jobs.cancel)),
        ("GET", f"{at}/*/events"): ("fine_tuning", endpoint("tune", jobs.events)),
        ("GET", f"{at}/*/checkpoints"): ("fine_tuning", endpoint("tune", jobs.checkpoints)),
    }


def _evals(evals: Evals) -> Routes:
    at = "/v1/evals"
    return {
        ("POST", at): ("evals", evals.create),
        ("GET", at): ("evals", endpoint("evals", evals.list)),
        ("GET", f"{at}/*"): ("evals", endpoint("evals", evals.get)),
        ("POST", f"{at}/*"): ("evals", endpoint("evals", evals.update)),
        ("DELETE", f"{at}/*"): ("evals", endpoint("evals", evals.delete)),
    }


def _runs(runs: Runs) -> Routes:
    at = "/v1/evals/*/runs"
    return {
        ("POST", at): ("evals", runs.create),
        ("GET", at): ("evals", endpoint("evals", runs.list)),
        ("GET", f"{at}/*"): ("evals", endpoint("evals", runs.get)),
        ("POST", f"{at}/*"): ("evals", endpoint("evals", runs.cancel)),
        ("DELETE", f"{at}/*"): ("evals", endpoint("evals", runs.delete)),
        ("GET", f"{at}/*/output_items"): ("evals", endpoint("evals", runs.items)),
        ("GET", f"{at}/*/output_items/*"): ("evals", endpoint("evals", runs.item)),
    }


def _batches(batches: Batches) -> Routes:
    at = "/v1/batches"
    return {
        ("POST", at): ("batches", batches.create),
        ("GET", at): ("batches", endpoint("files", batches.list)),
        ("GET", f"{at}/*"): ("batches", endpoint("files", batches.get)),
        ("POST", f"{at}/*/cancel"): ("batches", endpoint("files", batches.cancel)),
    }
