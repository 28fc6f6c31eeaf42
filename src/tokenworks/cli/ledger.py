"""`tokenworks ledger`: read, sum and verify what happened."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tokenworks.cli.columns import printable
from tokenworks.cli.context import Context
from tokenworks.cli.verifier import verifier
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
    if not newest and not follow:
        print(f"nothing has happened in {root} yet", file=sys.stderr)
    if follow:
        for position, entry in reader.follow(root, after=seen, stop=lambda: False):
            print(_line(ours, position, entry), flush=True)


@group.command()
def verify(
    context: typer.Context,
    key: Annotated[str | None, typer.Option(help="Verifier key, or a file with it [default: this home's].")] = None,
    witness: Annotated[list[Path] | None, typer.Option(help="Folder of a witness: what it saw must be there.")] = None,
) -> None:
    """Check every entry against its hash, the signed tree heads and witnesses; name what was changed, and where."""
    from tokenworks.ledger.signing import PUBLIC
    from tokenworks.ledger.verify import verify as check
    from tokenworks.ledger.watch import remembered

    ours: Context = context.obj
    home = ours.settings.home_path
    has_key = key is not None or (home / "keys" / PUBLIC).exists()
    trusted = verifier(ours, key) if has_key else None
    found = check(home / "ledger", key=trusted, witnessed=remembered(witness or ()))
    writers = "1 writer" if len(found.writers) == 1 else f"{len(found.writers)} writers"
    lines = [f"{found.entries} entries of {writers}: {'all verified' if found.ok else 'DAMAGED'}"]
    for writer, root in sorted(found.roots.items()):
        signed = f"  signed to {found.signed[writer]}" if writer in found.signed else "  not signed"
        signed += f" with {trusted.algorithms}" if trusted and trusted.beside and writer in found.signed else ""
        seen = f"  witnessed to {found.witnessed[writer]}" if writer in found.witnessed else ""
        lines.append(f"  {writer}  root {root[:16]}{signed}{seen}")
    lines += [f"  {problem}" for problem in found.problems]
    ours.show(found, "\n".join(lines))
    if not found.ok:
        raise typer.Exit(4)


@group.command()
def stats(
    context: typer.Context,
    since: Annotated[float | None, typer.Option(help="Only entries at or after this Unix time.")] = None,
    month: Annotated[str, typer.Option(help="Only entries of a month in UTC, as a statement has them: 2026-10.")] = "",
) -> None:
    """Sum requests, tokens, joules, costs and times from the entries themselves."""
    from tokenworks.core.errors import ConfigError
    from tokenworks.ledger.views import stats as summed
    from tokenworks.metering.money.month import month_of

    ours: Context = context.obj
    if month and since is not None:
        raise ConfigError("--since and --month: give one of them")
    span = month_of(month) if month else None
    begin, end = (span.begin, span.end) if span is not None else (since, None)
    found = summed(ours.settings.home_path / "ledger", begin, end)
    table = msgspec.to_builtins(found)
    ours.show(found, "\n".join(_pairs(table)))


def _pairs(table: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, dict):
            lines += [f"{indent}{printable(key)}", *_pairs(value, indent + "  ")]
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else value
            lines.append(f"{indent + (printable(key) or '(none)'):<32} {shown}")
    return lines


def _line(context: Context, position: object, entry: object) -> str:
    if context.as_json:
        return msgspec.json.encode(entry).decode()
    fields = msgspec.to_builtins(entry)
    kind, at = fields.pop("kind"), fields.pop("at")
    short = {key: value for key, value in fields.items() if not key.endswith(("digest", "salt"))}
    return f"{iso(at)} {position} {kind:<8} " + " ".join(f"{key}={printable(value)}" for key, value in short.items())
