"""What a Prometheus server knows of this machine's meter, by an instant query (its HTTP API, version 1)."""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.metering.asking import ask
from tokenworks.metering.calibration import Calibration
from tokenworks.metering.source import MeterError, Sample, check_unit, sample_of
from tokenworks.settings import MeterSettings

COUNTER_ERROR = 0.02
SAMPLE_ERROR = 0.10  # Prometheus looks every 15 s or so: what was between two looks nobody knows


def open_source(settings: MeterSettings, calibration: Calibration) -> Prometheus:
    """Return the meter that `meter.query` asks for; raise `ConfigError` where the settings do not say it."""
    if not settings.url.startswith(("http://", "https://")) or not settings.query:
        raise ConfigError(
            "meter.source prometheus needs meter.url, http://..., and meter.query, such as kepler_node_joules"
        )
    return Prometheus(settings)


class _Series(msgspec.Struct):
    metric: dict[str, str]
    value: tuple[float, str]  # when, and what


class _Data(msgspec.Struct):
    result: list[_Series]


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""


class Prometheus:
    """The series of one query; they are added up."""

    by_processor = True

    def __init__(self, settings: MeterSettings) -> None:
        counts = check_unit(settings.unit) == "counter"
        self.grade = "wall" if counts else "sampled"
        self.error = settings.error or (COUNTER_ERROR if counts else SAMPLE_ERROR)
        self._url = f"{settings.url.rstrip('/')}/api/v1/query?query={quote(settings.query)}"
        self._query, self._unit, self._header = settings.query, settings.unit, settings.header

    def read(self) -> list[Sample]:
        """Return one sample for each series."""
        try:
            answer = msgspec.convert(ask(self._url, self._header), _Answer)
        except msgspec.ValidationError as error:
            raise MeterError(f"{self._url} did not answer as Prometheus does: {error}") from None
        if answer.data is None or answer.status != "success":
            raise MeterError(f"Prometheus answered {answer.status}: {answer.error}")
        if not answer.data.result:
            raise MeterError(f"Prometheus has no series for {self._query}")
        return [sample_of(_name(one.metric), one.value[1], self._unit) for one in answer.data.result]

    def close(self) -> None:
        """Nothing is held."""


def _name(metric: dict[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(metric.items())) or "the query"
