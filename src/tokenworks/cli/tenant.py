"""`tokenworks tenant`: organisations and departments, and their projects."""

from __future__ import annotations

from typing import Annotated

import typer

from tokenworks.cli.columns import listed
from tokenworks.core.clock import iso

group = typer.Typer(no_args_is_help=True, help="Tenants and their projects.", rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="The tenant.")]
Project = Annotated[str, typer.Option(help="Only this project of it.")]


def register(app: typer.Typer) -> None:
    """Add the group to the command."""
    app.add_typer(group, name="tenant")


@group.command()
def new(context: typer.Context, name: Name) -> None:
    """Enter a tenant. A key for a tenant that nobody entered does it too."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        factory.people.new_tenant(name, by=user())
    context.obj.show({"tenant": name}, f"tenant {name}; next: tokenworks key new NAME --tenant {name}")


@group.command()
def project(
    context: typer.Context, name: Name, project: Annotated[str, typer.Argument(help="What to call the project.")]
) -> None:
    """Enter a project of a tenant."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        factory.people.new_project(name, project, by=user())
    context.obj.show(
        {"tenant": name, "project": project},
        f"project {name}/{project}; next: tokenworks key new NAME --tenant {name} --project {project}",
    )


@group.command("list")
def list_tenants(context: typer.Context) -> None:
    """List tenants and projects, with how many keys each has that open something."""
    with context.obj.factory() as factory:
        tenants, projects = factory.catalog.tenants.all(), factory.catalog.tenants.projects()
        now = factory.clock.now()
        living = [key for key in factory.catalog.keys.all() if key.valid_at(now) and not key.parent]
    rows = [(one.name, "", one.closed_at, sum(key.tenant == one.name for key in living)) for one in tenants]
    rows += [
        (
            one.tenant,
            one.name,
            one.closed_at,
            sum((key.tenant, key.project) == (one.tenant, one.name) for key in living),
        )
        for one in projects
    ]
    rows.sort(key=lambda row: row[:2])
    shown = [{"tenant": row[0], "project": row[1], "closed_at": row[2], "keys": row[3]} for row in rows]
    table = [
        (f"{tenant}/{project}" if project else tenant, keys, iso(closed_at) if closed_at is not None else "-")
        for tenant, project, closed_at, keys in rows
    ]
    none = "there is no tenant yet: the first key makes one, or: tokenworks tenant new NAME"
    context.obj.show(shown, listed(("tenant", "keys", "closed"), table, none=none))


@group.command()
def close(context: typer.Context, name: Name, project: Project = "") -> None:
    """Let none of its keys and people in from now on; nothing of theirs is deleted."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        if project:
            factory.people.close_project(name, project, by=user())
        else:
            factory.people.close_tenant(name, by=user())
    whose = f"{name}/{project}" if project else name
    context.obj.show({"closed": whose}, f"closed {whose}")


@group.command("open")
def reopen(context: typer.Context, name: Name, project: Project = "") -> None:
    """Let a closed tenant or project in again."""
    from tokenworks.factory.making import user

    with context.obj.factory() as factory:
        if project:
            factory.people.open_project(name, project, by=user())
        else:
            factory.people.open_tenant(name, by=user())
    whose = f"{name}/{project}" if project else name
    context.obj.show({"opened": whose}, f"opened {whose}")
