"""Who asks when for how much: a trace as arrays, read from CSV in the form of the Azure traces, cut and scaled."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tokenworks.core.errors import ConfigError, DataError

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
MOST_TOKENS = 10_000_000  # of one request: more is a broken row
HOUR_S = 3600.0
MONTH_S = 365.25 / 12 * 86_400


@dataclass(frozen=True)
class Trace:
    """Requests in the order they came. Arrays of one length; times are seconds from the first."""

    arrival_s: npt.NDArray[np.float64]
    prompt: npt.NDArray[np.int64]
    answer: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.arrival_s):
            raise DataError("the trace has no requests")

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def span_s(self) -> float:
        """Return how long it lasts: to the last request, and as much as lies between two after it."""
        count = len(self)
        return max(float(self.arrival_s[-1]) * count / max(count - 1, 1), 1.0)

    @property
    def tokens(self) -> tuple[int, int]:
        """Return the tokens of all prompts and of all answers."""
        return int(self.prompt.sum()), int(self.answer.sum())

    @property
    def burstiness(self) -> float:
        """Return the coefficient of variation of the gaps: 1 of a Poisson process."""
        gaps = np.diff(self.arrival_s)
        return float(gaps.std() / gaps.mean()) if len(gaps) and gaps.mean() > 0 else 0.0

    def part(self, begin_s: float, end_s: float) -> Trace:
        """Return the requests from `begin_s` to before `end_s`, timed from `begin_s`."""
        first, last = np.searchsorted(self.arrival_s, [begin_s, end_s])
        return Trace(self.arrival_s[first:last] - begin_s, self.prompt[first:last], self.answer[first:last])

    def busiest(self, window_s: float = HOUR_S) -> Trace:
        """Return the window of `window_s` with the most tokens, beginning at a request."""
        if self.span_s <= window_s:
            return self
        total = np.concatenate([[0], np.cumsum(self.prompt + self.answer)])
        ends = np.searchsorted(self.arrival_s, self.arrival_s + window_s)
        begin = float(self.arrival_s[int(np.argmax(total[ends] - total[:-1]))])
        return self.part(begin, begin + window_s)

    def thinned(self, share: float, seed: int = 0) -> Trace:
        """Return each request with the chance `share`: the same bursts, less of each."""
        if share >= 1:
            return self
        kept = np.random.default_rng(seed).random(len(self)) < share
        kept[0] = kept[0] or not kept.any()
        return Trace(self.arrival_s[kept], self.prompt[kept], self.answer[kept])

    def faster(self, factor: float) -> Trace:
        """Return the same requests in `1 / factor` of the time."""
        return Trace(self.arrival_s / factor, self.prompt, self.answer)

    def first(self, count: int) -> Trace:
        """Return the first `count` requests."""
        return Trace(self.arrival_s[:count], self.prompt[:count], self.answer[:count])

    def shorter(self, factor: float, *, prompt_most: int, answer_most: int) -> Trace:
        """Return it with lengths times `factor`, at least one token and at most the bounds."""
        return Trace(
            self.arrival_s,
            np.clip(np.round(self.prompt * factor), 1, prompt_most).astype(np.int64),
            np.clip(np.round(self.answer * factor), 1, answer_most).astype(np.int64),
        )


def read_trace(path: Path) -> Trace:
    """Return the trace in the CSV at `path`; raise `DataError` naming the line that cannot be meant."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            head = [name.strip() for name in next(reader, [])]
            if missing := [name for name in COLUMNS if name not in head]:
                raise DataError(
                    f"{path}: the first line must name the columns {', '.join(COLUMNS)}; missing: {missing}"
                )
            places = [head.index(name) for name in COLUMNS]
            rows = [row for row in reader if row]
    except FileNotFoundError:
        raise ConfigError(f"--trace {path}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text at byte {error.start}") from None
    if not rows:
        raise DataError(f"{path}: no requests below the head")
    if short := next((number for number, row in enumerate(rows, 2) if len(row) <= max(places)), 0):
        raise DataError(f"{path} line {short}: fewer columns than the head")
    times, prompts, answers = ([row[place] for row in rows] for place in places)
    return trace_of(
        _times(times, path), _lengths(prompts, path, COLUMNS[1]), _lengths(answers, path, COLUMNS[2]), str(path)
    )


def trace_of(seconds: Sequence[float], prompts: Sequence[int], answers: Sequence[int], where: str) -> Trace:
    """Return a trace of what was read from `where`, its first request in line 2; lengths of zero become one."""
    arrival = np.asarray(seconds, float)
    prompt, answer = np.asarray(prompts, np.int64), np.asarray(answers, np.int64)
    if not np.isfinite(arrival).all():
        raise DataError(f"{where} line {int(np.argmin(np.isfinite(arrival))) + 2}: no time")
    backwards = np.diff(arrival) < 0
    if backwards.any():
        line = int(np.argmax(backwards)) + 3
        raise DataError(
            f"{where} line {line}: time runs backwards ({-np.diff(arrival)[line - 3]:.3f} s); sort it by time"
        )
    for name, column in (("prompt", prompt), ("answer", answer)):
        bad = (column < 0) | (column > MOST_TOKENS)
        if bad.any():
            place = int(np.argmax(bad))
            raise DataError(
                f"{where} line {place + 2}: {name} of {column[place]} tokens; 0 to {MOST_TOKENS} can be meant"
            )
    return Trace(arrival - arrival[0] if len(arrival) else arrival, np.maximum(prompt, 1), np.maximum(answer, 1))


def _times(texts: list[str], path: Path) -> list[float]:
    plain = [text.removesuffix("+00:00").removesuffix("Z") for text in texts]
    try:
        return (np.array(plain, "datetime64[ns]").astype(np.int64) / 1e9).tolist()  # type: ignore[no-any-return]
    except ValueError:
        line = _first_bad(plain, lambda text: np.datetime64(text, "ns"))
        raise DataError(f"{path} line {line}: {texts[line - 2]!r} is no time such as 2023-11-16 18:15:46.68") from None


def _lengths(texts: list[str], path: Path, column: str) -> list[int]:
    try:
        return [int(text) for text in texts]
    except ValueError:
        line = _first_bad(texts, int)
        raise DataError(f"{path} line {line}: {column} is {texts[line - 2]!r}, not a whole number") from None


def _first_bad(texts: Iterable[str], read: object) -> int:
    for line, text in enumerate(texts, 2):
        try:
            read(text)  # type: ignore[operator]
        except ValueError:
            return line
    return 2
