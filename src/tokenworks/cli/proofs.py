"""`tokenworks ledger sign|prove|check|watch`: what shows to others that nothing was changed or left out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenworks.cli.context import Context
from tokenworks.cli.ledger import group
from tokenworks.cli.verifier import VKEY, verifier
from tokenworks.core.clock import iso

if TYPE_CHECKING:
    from tokenworks.ledger.watch import Look


def register(_: typer.Typer) -> None:
    """Add the commands to the group `ledger`."""
    for command in (sign, prove, check, watch):
        group.command()(command)


def sign(
    context: typer.Context,
    ml_dsa: Annotated[bool, typer.Option("--ml-dsa", help="With an ML-DSA-44 key beside, from now on.")] = False,
) -> None:
    """Verify the ledger, then sign every log that is older than this home's key."""
    from tokenworks.core.errors import IntegrityError
    from tokenworks.ledger.signing import add_ml_dsa, ensure_ledger_key, sign_log
    from tokenworks.ledger.verify import verify

    ours: Context = context.obj
    home = ours.settings.home_path
    found = verify(home / "ledger")
    if not found.ok:
        raise IntegrityError(f"nothing was signed: {found.problems[0]}; see 'tokenworks ledger verify'")
    keys = home / "keys"
    key = add_ml_dsa(keys, home / "ledger") if ml_dsa else ensure_ledger_key(keys)
    signed = [writer for writer in found.writers if sign_log(home / "ledger" / writer, key)]
    lines = [
        f"{len(signed)} logs signed with {key.public.algorithms}, of {len(found.writers)}",
        f"verifier key  {key.public}",
    ]
    ours.show({"signed": signed, "key": str(key.public)}, "\n".join(lines))


def prove(
    context: typer.Context,
    entry: Annotated[str, typer.Argument(help="WRITER:INDEX, the id of a request or feedback; WRITER with --since.")],
    out: Annotated[Path | None, typer.Option(help="File to write [default: standard output].")] = None,
    witness: Annotated[Path | None, typer.Option(help="A witness's folder: prove under what it cosigned.")] = None,
    since: Annotated[Path | None, typer.Option(help="Older checkpoint: prove that WRITER kept it.")] = None,
) -> None:
    """Write the proof that an entry is in the ledger, which anybody can check offline."""
    from tokenworks.ledger.proving import entry_proof, growth_proof

    ours: Context = context.obj
    root, views = ours.settings.home_path / "ledger", ours.settings.home_path / "views" / "tree"
    text = growth_proof(root, views, entry, since) if since else entry_proof(root, views, entry, witness)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
        says = f"{out}: {len(text)} bytes; check it: tokenworks ledger check {out}"
        ours.show({"file": str(out), "bytes": len(text)}, says)


def check(
    context: typer.Context,
    proof: Annotated[Path, typer.Argument(help="A file that `prove` wrote.")],
    key: Annotated[str | None, typer.Option(help=VKEY)] = None,
    witness: Annotated[list[str] | None, typer.Option(help="Key of a witness that must have cosigned.")] = None,
    receipt: Annotated[Path | None, typer.Option(help="File with the receipt that came with the answer.")] = None,
    since: Annotated[Path | None, typer.Option(help="The older checkpoint that a proof of growth begins with.")] = None,
) -> None:
    """Check a proof; say what it shows."""
    from tokenworks.ledger.checkpoint import open_checkpoint
    from tokenworks.ledger.proof import check_entry, check_growth
    from tokenworks.ledger.receipt import check_kept, read

    ours: Context = context.obj
    text, trusted = _text(proof), verifier(ours, key)
    if since:
        _, old = open_checkpoint(_text(since), trusted)
        new = check_growth(text, old, trusted)
        says = f"{new.origin}: the first {old.size} of {new.size} entries are those of {since}"
        ours.show({"origin": new.origin, "old": old.size, "size": new.size}, says)
        return
    found = check_entry(text, trusted, [verifier(ours, each) for each in witness or ()])
    if receipt:
        promised = read(_text(receipt), trusted)
        check_kept(promised, found.origin, found.index, found.size, found.leaf)
    lines = [f"entry {found.index} of {found.origin}, as of {found.size} entries"]
    lines += ["  as the receipt promised"] if receipt else []
    lines += [f"  cosigned by {name} at {iso(at)}" for name, at in found.cosigned.items()]
    lines += [f"  {name:<18} {value}" for name, value in found.entry.items()]
    ours.show(found, "\n".join(lines))


def watch(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where this witness keeps what it saw: not in the home it watches.")],
    ledger: Annotated[Path | None, typer.Option(help="The ledger's folder [default: this home's].")] = None,
    key: Annotated[str | None, typer.Option(help=VKEY)] = None,
    name: Annotated[str, typer.Option(help="What the witness is called, when its key is made.")] = "",
    every_s: Annotated[float, typer.Option("--every", help="Seconds between two looks.", min=0.05)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, then end.")] = False,
) -> None:
    """Be a witness: cosign what grew; see roll-backs and forks, and end with 4 when there is one."""
    from tokenworks.ledger.watch import look
    from tokenworks.ledger.witness import LOG_KEY, Witness

    ours: Context = context.obj
    root = ledger or ours.settings.home_path / "ledger"
    known = None if key is None and (folder / LOG_KEY).exists() else verifier(ours, key)
    witness = Witness(folder, known, name=name)
    while True:
        seen = look(root, folder, witness)
        if seen.cosigned or seen.problems or once:
            ours.show(seen, _look(seen, str(witness.public)))
        if seen.problems:
            raise typer.Exit(4)
        if once:
            return
        time.sleep(every_s)


def _text(path: Path) -> str:
    from tokenworks.core.errors import DataError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); give a file that 'tokenworks ledger prove' wrote") from None


def _look(seen: Look, key: str) -> str:
    lines = [f"{writer}: {seen.sizes[writer]} entries cosigned" for writer in seen.cosigned]
    lines += [f"TAMPERED  {problem}" for problem in seen.problems]
    return "\n".join(lines or [f"nothing new; verifier key {key}"])
