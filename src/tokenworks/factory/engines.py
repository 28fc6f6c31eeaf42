"""The engines of a house: which folders they may load, how, and when they are given up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tokenworks.core.model import ModelVersion
from tokenworks.factory.house import House
from tokenworks.factory.metering import engine_pages
from tokenworks.factory.telemetry import engine_environment, engine_traces
from tokenworks.line.release.inspect import verify_folder
from tokenworks.serving.engine import Options
from tokenworks.serving.followed import Reach
from tokenworks.serving.pool import OpenModel, Pool
from tokenworks.serving.supervisor import Policy
from tokenworks.settings import Settings


def pool_of(
    house: House, open_model: OpenModel, released: Callable[[], frozenset[str]], reach: Reach | None = None
) -> Pool:
    """Return the pool; with `reach` its engines are another process's."""
    engines = house.settings.engines
    return Pool(
        open_model=open_model,
        released=released,
        engine=engines.generation if engines.generation != "remote" else "auto",
        options=engine_options(house.settings, house.home),
        policy=Policy(
            start_timeout_s=engines.start_timeout_s,
            give_up_after=engines.give_up_after,
            longest_pause_s=engines.restart_pause_s,
        ),
        reach=reach,
        replicas=engines.replicas,
        environment=engine_environment(house.settings.telemetry),
    )


def open_verified(house: House) -> OpenModel:
    """Return how a model version is opened: a folder whose signature does not verify is not served."""

    def open_model(ref: str) -> Path:
        version: ModelVersion = house.catalog.models.find(ref)
        folder = house.artifacts.folder(version.folder)
        verify_folder(folder, house.key.public)
        return folder

    return open_model


def engine_options(settings: Settings, home: Path) -> Options:
    """Return how engines load models here."""
    engines = settings.engines
    otlp_endpoint, otlp_service = engine_traces(settings.telemetry)
    return Options(
        threads=engines.threads or settings.threads,
        precision=engines.precision,
        max_batch=engines.max_batch,
        cache=str(home / "cache" / "engines"),
        meter=engine_pages(settings, home),
        otlp_endpoint=otlp_endpoint,
        otlp_service=otlp_service,
    )
