"""The `tokenworks` command: one file per verb group; everything it does, `tokenworks.Factory` does."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from tokenworks.cli.context import Context
from tokenworks.core.compiled import use as use_compiled
from tokenworks.core.errors import TokenworksError
from tokenworks.core.version import __version__

app = typer.Typer(
    name="tokenworks",
    help="An AI factory: from your own documents and traffic to models and tokens, every token accounted for.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
GROUPS = (
    "up",
    "config",
    "task",
    "line",
    "turn",
    "feedback",
    "release",
    "erase",
    "watch",
    "ledger",
    "proofs",
    "analytics",
    "hold",
    "witness",
    "key",
    "grant",
    "tenant",
    "person",
    "limit",
    "policy",
    "doctor",
    "report",
    "statement",
    "top",
    "openapi",
    "plan",
    "claim",
    "scaling",
    "meter",
    "compile",
)
for _group in GROUPS:
    import_module(f"tokenworks.cli.{_group}").register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tokenworks {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Where everything is kept [default: ~/.tokenworks].")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file [default: ./tokenworks.toml].")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options that every command takes, before the command's name."""
    context.obj = Context(home=home, config=config, as_json=as_json)


def main() -> None:
    """Run the command line; an error on purpose becomes one line and an exit code that means something."""
    try:
        use_compiled()
        app()
    except TokenworksError as error:
        print(f"tokenworks: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `tokenworks ledger tail | head`
        sys.exit(0)


if __name__ == "__main__":
    main()
