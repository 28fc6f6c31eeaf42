"""The verbs of the line: `ingest`, `train`, `tune`, `evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tokenworks.cli.context import Context
from tokenworks.core.process import die_with

if TYPE_CHECKING:
    from tokenworks.line.events import AnyEvent
    from tokenworks.line.produce import Outcome

Name = Annotated[str, typer.Argument(help="The task's name.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (ingest, train, tune, evaluate):
        app.command()(verb)


def ingest(
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Folders, files or zip archives.")],
    label: Annotated[str, typer.Option(help="Data class of what lies there; detectors may raise it.")] = "internal",
) -> None:
    """Read documents, set aside what cannot be used, and say what came in, what was left out, and why."""
    from tokenworks.cli.screen import Screen
    from tokenworks.cli.tables import ingest_lines

    ours: Context = context.obj
    with ours.factory() as factory, Screen(ours.console) as screen:
        found = factory.listening(screen).ingest(paths, label=label)
    ours.show(found, "\n".join(ingest_lines(found)))


def train(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Task files.")],
    events_for: Annotated[
        int | None, typer.Option(hidden=True, help="Process that reads what happens as JSON lines; die with it.")
    ] = None,
) -> None:
    """Run the line for each task: data, model, evaluation, gate, and the release if it won."""
    from tokenworks.core.task import read_task

    ours: Context = context.obj
    tasks = [read_task(file) for file in files]
    if events_for is not None:
        die_with(events_for)
        with ours.factory() as factory:
            factory.listening(_print_event)
            for task in tasks:
                factory.read_documents(task)
            for task in tasks:
                _print_line(factory.make(task))
        return
    _make(ours, tasks)


def tune(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the new model is called.")],
    base: Annotated[str, typer.Option(help="Hugging Face folder to start from, or a model of ours as name@version.")],
    examples: Annotated[Path, typer.Option(help="OpenAI fine-tuning format: one {'messages': [...]} a line.")],
    gold: Annotated[Path | None, typer.Option(help="Examples to judge on [default: a part is held out].")] = None,
    method: Annotated[str, typer.Option(help="auto | full | lora")] = "lora",
    budget: Annotated[str, typer.Option(help='Training time such as "3m".')] = "3m",
    owner: Annotated[str, typer.Option(help="Who answers for it, as mailto:; without one nothing is released.")] = "",
    label: Annotated[str, typer.Option(help="Data class of the examples.")] = "internal",
) -> None:
    """Fine-tune a language model on conversations; judge it, and release it if it won."""
    from tokenworks.core.task import Task, TaskCheck, TaskData, TaskHead, TaskModel

    table = msgspec.convert({"name": name, "kind": "chat", "owner": owner, "label": label}, TaskHead)
    model = msgspec.convert({"base": base, "method": method, "budget": budget}, TaskModel)
    check = TaskCheck(gold=str(gold.resolve()) if gold else "")
    task = Task(
        task=table, data=TaskData(examples=str(examples.resolve())), model=model, check=check, folder=str(Path.cwd())
    )
    _make(context.obj, [task])


def evaluate(
    context: typer.Context,
    name: Name,
    sweep: Annotated[str, typer.Option(help="reasoning: compare the ways of thinking and choose the default.")] = "",
    questions: Annotated[
        Path | None, typer.Option(help='For a sweep: a request object a line, with "expected" [default: the gold set].')
    ] = None,
    answer: Annotated[str, typer.Option(help="For a sweep: regular expression of what is compared.")] = "",
    samples: Annotated[int, typer.Option(help="For a sweep: how often each question is sampled.")] = 16,
    temperature: Annotated[float | None, typer.Option(help="For a sweep [default: the engine's].")] = None,
    verifier: Annotated[
        list[str] | None,
        typer.Option(help="For a sweep: reasoning.verifier as JSON, to try best-of-n with; repeat it."),
    ] = None,
    cue: Annotated[str, typer.Option(help="For a sweep: what budget forcing says to think again.")] = "",
) -> None:
    """Measure what is released for a task on its gold set, beside the baselines; or sweep a way of spending more."""
    from tokenworks.cli.screen import Screen
    from tokenworks.cli.tables import evaluation_lines

    ours: Context = context.obj
    if sweep:
        from tokenworks.cli.sweeping import Asked, show_sweep

        asked = Asked(questions, answer=answer, samples=samples, temperature=temperature, verifiers=verifier, cue=cue)
        show_sweep(ours, name, sweep, asked)
        return
    with ours.factory() as factory, Screen(ours.console) as screen:
        found = factory.listening(screen).evaluate(name)
    ours.show(found, "\n".join(evaluation_lines(found)))


def _make(ours: Context, tasks: list) -> None:  # type: ignore[type-arg]
    from tokenworks.cli.screen import Screen
    from tokenworks.cli.tables import outcome_lines

    outcomes: list[Outcome] = []
    with ours.factory() as factory:
        with Screen(ours.console) as screen:
            outcomes += [factory.listening(screen).make(task) for task in tasks]
        text = "\n".join(line for outcome in outcomes for line in outcome_lines(outcome, factory))
    ours.show(outcomes, text)


def _print_event(event: AnyEvent) -> None:
    _print_line(event)


def _print_line(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()
