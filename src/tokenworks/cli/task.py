"""`tokenworks task`: write, check and foresee task files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tokenworks.cli.columns import listed
from tokenworks.core.errors import ConfigError, ConflictError
from tokenworks.core.files import write_atomic

group = typer.Typer(no_args_is_help=True, help="Write, check and foresee task files.", rich_markup_mode=None)
File = Annotated[Path, typer.Argument(help="Task file.")]

TEMPLATES = {
    "classify": ('examples = "examples.csv"      # columns: text,label', 'base = "minilm"', "accuracy"),
    "extract": (
        'examples = "examples.jsonl"    # OpenAI fine-tuning format\nschema = "answer.schema.json"',
        'base = "/models/small"         # a Hugging Face folder',
        "json_match",
    ),
    "embed": ('sources = ["docs/"]', 'base = "minilm"', "recall@10"),
    "complete": ('sources = ["docs/"]', 'base = "from-scratch"\nbudget = "3m"', "bits_per_byte"),
    "chat": (
        'examples = "examples.jsonl"    # OpenAI fine-tuning format',
        'base = "/models/small"         # a Hugging Face folder\nmethod = "lora"\nbudget = "10m"',
        "exact_match",
    ),
}


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="task")


@group.command()
def new(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The task's name, which callers put into `model`.")],
    kind: Annotated[str, typer.Option(help="classify | extract | embed | complete | chat")] = "classify",
    owner: Annotated[str, typer.Option(help="Who answers for it, as mailto:; without one nothing is released.")] = "",
) -> None:
    """Write NAME.toml, ready to edit."""
    from tokenworks.core.task import require_name

    require_name(name, "the task's name")
    if kind not in TEMPLATES:
        raise ConfigError(f"kind {kind!r} does not exist; there are: {', '.join(TEMPLATES)}")
    path = Path(f"{name}.toml")
    if path.exists():
        raise ConflictError(f"{path} exists; remove it or choose another name")
    data, model, metric = TEMPLATES[kind]
    quoted = msgspec.json.encode(owner).decode()  # a JSON string is one of TOML too
    text = (
        f'[task]\nname = "{name}"\nkind = "{kind}"\nowner = {quoted}     # no owner, no release\n'
        f'label = "internal"             # public < internal < confidential < restricted\n\n[data]\n{data}\n\n'
        f'[model]\n{model}\n\n[check]\nmetric = "{metric}"\n# gold = "gold.jsonl"         # else a part is held out\n'
        f'# floor = {{ overall = 0.85 }}\n\n[turn]\nautonomy = "promote"           # or "propose": a person releases\n'
    )
    write_atomic(path, text.encode())
    context.obj.show(
        {"written": str(path)}, f"wrote {path}; next: name your files in it, then: tokenworks task check {path}"
    )


@group.command()
def check(context: typer.Context, file: File) -> None:
    """Read a task file and the files it names; say what cannot be meant, with its line."""
    from tokenworks.core.task import read_task

    task = read_task(file)
    for key, name in (("data.examples", task.data.examples), ("check.gold", task.check.gold)):
        if name and not task.path(name).is_file():
            raise ConfigError(f"{file}: {key} names {task.path(name)}, which does not exist")
    for name in task.data.sources:
        if not task.path(name).exists():
            raise ConfigError(f"{file}: data.sources names {task.path(name)}, which does not exist")
    remark = "" if task.task.owner else "; it has no owner, so it cannot be released: set task.owner"
    context.obj.show({"ok": True, "task": task.name}, f"task {task.name} ({task.kind}) is fine{remark}")


@group.command()
def plan(context: typer.Context, file: File) -> None:
    """Say what would be read, trained and measured, how long it should take here, and what it may spend."""
    from tokenworks.core.task import read_task

    with context.obj.factory() as factory:
        seen = factory.forecast(read_task(file))
    files = "1 file" if seen.files == 1 else f"{seen.files} files"
    lines = [
        f"task      {seen.task} ({seen.kind})",
        f"reads     {files}, {seen.bytes / 1e6:.1f} MB, {seen.examples} examples",
        *(f"          {path}" for path in seen.reads),
        f"trains    {seen.trains}",
        f"measures  {seen.measures}",
        f"may spend {seen.may_spend}",
        *(f"  {stage.stage:<20} {stage.seconds:>7.1f} s  {stage.basis}" for stage in seen.stages),
        f"  {'all':<20} {seen.seconds:>7.1f} s",
    ]
    context.obj.show(seen, "\n".join(lines))


@group.command()
def show(
    context: typer.Context, name: Annotated[str | None, typer.Argument(help="One task; else all.")] = None
) -> None:
    """List the tasks that the factory knows, with what answers for each."""
    with context.obj.factory() as factory:
        known = [task for task in factory.catalog.tasks.all() if name in (None, task.name)]
        if name and not known:
            raise ConfigError(f"task {name!r} is not known here; add it with: tokenworks train FILE")
        current = {release.alias: release for release in factory.catalog.releases.all_current()}
    answers = {alias: f"@{one.version}" for alias, one in current.items() if one.version}
    rows = [(one.name, one.kind, one.label, answers.get(one.name, "-"), one.owner or "(none)") for one in known]
    none = "no task is known yet; begin one: tokenworks task new NAME --kind classify"
    table = listed(("task", "kind", "label", "released", "owner"), rows, none=none)
    context.obj.show(msgspec.to_builtins(known), table)
