"""What a terminal shows of the line: bars where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Task as Bar
from rich.text import Text

from tokenworks.line.events import Advanced, AnyEvent, Failed, Finished, Said, Started

PLAIN_EVERY_S = 15.0


def human(value: float) -> str:
    """Return `value` with at most four characters and a unit prefix: 1234567 -> '1.2M'."""
    for limit, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if sign == "k" else limit)
            return f"{scaled:.1f}{sign}" if scaled < 100 else f"{scaled:.0f}{sign}"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


class _Amount(ProgressColumn):
    """Done, total and rate, in the stage's own unit."""

    def render(self, task: Bar) -> Text:
        unit = task.fields.get("unit", "")
        total = f"/{human(task.total)}" if task.total else ""
        rate = f"  {human(task.speed)}/s" if task.speed else ""
        return Text(f"{human(task.completed)}{total} {unit}{rate}" if unit or task.completed else "", style="dim")


class Screen:
    """Listen to the line and show it. Use as a context manager; call it with each event."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars = Progress(
            TextColumn("  {task.fields[job]:<12} {task.description:<20}"),
            BarColumn(bar_width=24),
            _Amount(),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._open: dict[tuple[str, str], TaskID] = {}
        self._said_at = 0.0

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:  # rich ends bars with an empty line where they were never shown
            self._bars.stop()

    def __call__(self, event: AnyEvent) -> None:
        """Show `event`."""
        match event:
            case Started():
                self._begin(event)
            case Advanced():
                self._advance(event)
            case Finished():
                self._drop(event)
                remark = "known already" if event.hit else f"{event.seconds:.1f} s"
                self._console.print(f"  {event.task:<12} {event.stage:<20} [green]done[/]  {remark}", highlight=False)
            case Failed():
                self._drop(event)
                self._console.print(f"  {event.task:<12} {event.stage:<20} [red]failed[/]  {event.message}")
            case Said():
                self._console.print(f"  {event.task:<12} {event.text}", highlight=False)

    def _begin(self, event: Started) -> None:
        self._open[event.task, event.stage] = self._bars.add_task(
            event.stage, total=None, job=event.task, unit="", note=""
        )

    def _advance(self, event: Advanced) -> None:
        bar = self._open.get((event.task, event.stage))
        if bar is not None:
            self._bars.update(bar, completed=event.done, total=event.total, unit=event.unit, note=event.note)
        if not self._console.is_terminal and time.monotonic() - self._said_at > PLAIN_EVERY_S:
            self._said_at = time.monotonic()
            total = f"/{human(event.total)}" if event.total else ""
            self._console.print(
                f"  {event.task:<12} {event.stage:<20} {human(event.done)}{total} {event.unit} {event.note}".rstrip(),
                highlight=False,
            )

    def _drop(self, event: Finished | Failed) -> None:
        bar = self._open.pop((event.task, event.stage), None)
        if bar is not None:
            self._bars.remove_task(bar)
