"""`tokenworks policy`: what may be asked and sent where, tried before it is in force. Changes are in force at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tokenworks.governance.policy.engine import Decision, Policies

group = typer.Typer(no_args_is_help=True, help="What may be asked, and where text may go.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="policy")


@group.command()
def check(context: typer.Context) -> None:
    """Read the policies of this home and validate them; name each with its file."""
    policies = _policies(context)
    lines = [f"{name:<28} {place}" for name, place in policies.places.items()]
    shown = {"digest": policies.digest, "policies": policies.places}
    context.obj.show(shown, "\n".join([*lines, f"{len(lines)} policies, all fit the schema: set {policies.digest}"]))


@group.command("test")
def try_out(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="Cases [default: policies/*.test.toml].")] = None,
) -> None:
    """Try the policies on cases; exit with 1 where one is decided otherwise than it expects."""
    from tokenworks.governance.policy.cases import PATTERN, try_cases

    paths = files or sorted(_folder(context).glob(PATTERN))
    tried = try_cases(_policies(context), paths)
    wrong = [one for one in tried if not one.held]
    lines = [f"{'ok' if one.held else 'WRONG':<6} {one.case.name}: {_verdict(one.decision)}" for one in tried]
    lines += [f"       expected {one.case.expect}{_by(one.case.by)}: {one.decision.why}" for one in wrong]
    shown = {"cases": len(tried), "wrong": [one.case.name for one in wrong], "tried": tried}
    context.obj.show(shown, "\n".join([*lines, f"{len(tried) - len(wrong)} of {len(tried)} cases as expected"]))
    if wrong:
        raise typer.Exit(1)


@group.command()
def explain(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model that would be asked.")] = "example",
    action: Annotated[str, typer.Option(help="infer, search, feedback, files, tune or evals.")] = "infer",
    key: Annotated[str, typer.Option(help="Prefix of the key, as `key list` shows it.")] = "tw-example",
    tenant: Annotated[str, typer.Option(help="Whose key.")] = "default",
    clearance: Annotated[str, typer.Option(help="What the key is cleared for.")] = "internal",
    prompt: Annotated[str, typer.Option(help="Label of the prompt.")] = "public",
    model_label: Annotated[str, typer.Option(help="Label of the model.")] = "public",
    destination: Annotated[str, typer.Option(help="Where the prompt would go [default: the model's engine].")] = "",
    region: Annotated[str, typer.Option(help="Where that is; 'here' is this site.")] = "here",
    cleared: Annotated[str, typer.Option(help="The highest label of text that may go there.")] = "restricted",
    project: Annotated[str, typer.Option(help="Of which project of the tenant.")] = "",
    role: Annotated[list[str] | None, typer.Option(help="A role that the key acts in [repeat].")] = None,
    grant: Annotated[str, typer.Option(help="What the grant is for that is used.")] = "",
    grant_model: Annotated[list[str] | None, typer.Option(help="A model that the grant is for [repeat].")] = None,
    day: Annotated[str, typer.Option(help="Day of the week.")] = "wednesday",
    hour: Annotated[int, typer.Option(help="Hour of the day, UTC.")] = 12,
) -> None:
    """Say what the policies decide, which of them, and because of what."""
    from tokenworks.governance.policy.cases import Facts, decide

    facts = Facts(
        action=action,
        key=key,
        tenant=tenant,
        clearance=clearance,
        model=model,
        model_label=model_label,
        prompt=prompt,
        destination=destination,
        region=region,
        cleared=cleared,
        project=project,
        roles=tuple(role or ()),
        grant=grant,
        grant_models=tuple(grant_model or ()),
        day=day,
        hour=hour,
    )
    decision = decide(_policies(context), facts)
    context.obj.show(decision, decision.why)


def _verdict(decision: Decision) -> str:
    return f"{'allowed' if decision.allowed else 'denied'}{_by(', '.join(decision.policies))}"


def _by(names: str) -> str:
    return f" by {names}" if names else ""


def _folder(context: typer.Context) -> Path:
    home: Path = context.obj.settings.home_path
    return home / "policies"


def _policies(context: typer.Context) -> Policies:
    from tokenworks.governance.policy.folder import read_folder

    return read_folder(_folder(context))
