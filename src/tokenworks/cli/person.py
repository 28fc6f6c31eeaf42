"""`tokenworks person`: people and what they may do. Who signs in with an identity provider is entered by that."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.columns import listed
from tokenworks.core.clock import iso

group = typer.Typer(no_args_is_help=True, help="People and their roles.", rich_markup_mode=None)
Id = Annotated[str, typer.Argument(help="As the identity provider calls them, or a name of your own.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="person")


@group.command()
def new(
    context: typer.Context,
    id: Id,
    tenant: Annotated[str, typer.Option(help="Where they belong.")] = "default",
    role: Annotated[list[str] | None, typer.Option(help="What they may do: see `person table` [repeat].")] = None,
) -> None:
    """Enter somebody, with roles."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        factory.people.new_person(id, tenant=tenant, roles=role or (), by=user())
    context.obj.show({"person": id}, f"person {id}; a key of their own: tokenworks key new NAME --person {id}")


@group.command("list")
def list_people(context: typer.Context) -> None:
    """List people with their roles, and the pseudonym under which each stands in the ledger."""
    with context.obj.factory() as factory:
        people = factory.catalog.people.all()
    rows = [
        (
            one.id,
            one.handle,
            one.tenant,
            ",".join(one.roles) or "-",
            ",".join(one.claimed) or "-",
            iso(one.ended_at) if one.ended_at is not None else "-",
        )
        for one in people
    ]
    head = ("person", "in the ledger", "tenant", "given here", "by groups", "ended")
    context.obj.show(people, listed(head, rows, none="nobody is known yet; add somebody: tokenworks person new ID"))


@group.command()
def roles(
    context: typer.Context,
    id: Id,
    role: Annotated[list[str] | None, typer.Option(help="A role to have from now on [repeat; none: no role].")] = None,
) -> None:
    """Give somebody these roles, in the place of those given here before; those of their groups stay."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        factory.people.set_roles(id, role or (), by=user())
    context.obj.show({"person": id, "roles": role or []}, f"{id}: {', '.join(role or ()) or 'no role'}")


@group.command()
def end(context: typer.Context, id: Id) -> None:
    """Let somebody in no more: no token of theirs and no key."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        factory.people.end_person(id, by=user())
    context.obj.show({"ended": id}, f"ended {id}")


@group.command()
def restore(context: typer.Context, id: Id) -> None:
    """Let somebody in again."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        factory.people.restore_person(id, by=user())
    context.obj.show({"restored": id}, f"restored {id}")


@group.command()
def table(context: typer.Context) -> None:
    """Show the roles there are and what each may do."""
    from tokenworks.factory.identity import roles_of

    known = roles_of(context.obj.settings.identity.roles).all
    lines = [f"{'role':<12} {'clearance':<13} scopes"]
    for name, role in known.items():
        lines += [f"{name:<12} {role.clearance!s:<13} {', '.join(sorted(role.scopes))}", f"{'':<26} {role.about}"]
    context.obj.show(
        {name: {"clearance": str(r.clearance), "scopes": sorted(r.scopes)} for name, r in known.items()},
        "\n".join(lines),
    )
