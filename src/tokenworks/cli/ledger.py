"""`tokenworks ledger`: read, sum and verify what happened."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from tokenworks.cli.context import Context
from tokenworks.core.clock import iso

group = typer.Typer(no_args_is_help=True, help="Read, sum and verify what happened.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="ledger")


@group.command()
def tail(
    context: typer.Context,
    lines: Annotated[int, typer.Option("-n", help="How many of the newest entries.")] = 20,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as entries come.")] = False,
) -> None:
    """Print the newest entries, one line each."""
    from collections import deque

    from tokenworks.ledger import reader

    ours: Context = context.obj
    root = ours.settings.home_path / "ledger"
    seen: dict[str, int] = {}
    newest: deque[str] = deque(maxlen=lines)
    for position, entry in reader.read(root):
        seen[position.writer] = position.index
        newest.append(_line(ours, position, entry))
    for line in newest:
        print(line)
    if follow:
        for position, entry in reader.follow(root, after=seen, stop=lambda: False):
            print(_line(ours, position, entry), flush=True)


@group.command()
def verify(context: typer.Context) -> None:
    """Check every entry against its hash and the tree heads; name what was changed, and where."""
    from tokenworks.ledger.verify import verify as check

    ours: Context = context.obj
    found = check(ours.settings.home_path / "ledger")
    lines = [f"{found.entries} entries of {len(found.roots)} writers: {'all verified' if found.ok else 'DAMAGED'}"]
    lines += [f"  {writer}  root {root[:16]}" for writer, root in sorted(found.roots.items())]
    lines += [f"  {problem}" for problem in found.problems]
    ours.show(found, "\n".join(lines))
    if not found.ok:
        raise typer.Exit(4)


@group.command()
def stats(
    context: typer.Context,
    since: Annotated[float | None, typer.Option(help="Only entries after this Unix time.")] = None,
) -> None:
    """Sum requests, tokens and times from the entries themselves."""
    from tokenworks.ledger.views import stats as summed

    ours: Context = context.obj
    found = summed(ours.settings.home_path / "ledger", since)
    table = msgspec.to_builtins(found)
    ours.show(found, "\n".join(_pairs(table)))


def _pairs(table: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}", *_pairs(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<20} {value:.4g}" if isinstance(value, float) else f"{indent}{key:<20} {value}")
    return lines


def _line(context: Context, position: object, entry: object) -> str:
    if context.as_json:
        return msgspec.json.encode(entry).decode()
    fields = msgspec.to_builtins(entry)
    kind, at = fields.pop("kind"), fields.pop("at")
    short = {key: value for key, value in fields.items() if not key.endswith(("digest", "salt"))}
    return f"{iso(at)} {position} {kind:<8} " + " ".join(f"{key}={value}" for key, value in short.items())
