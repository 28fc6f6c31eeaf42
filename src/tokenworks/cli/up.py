"""`tokenworks up` and `tokenworks serve`: everything started, shown, and stopped cleanly."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tokenworks.cli.context import Context

if TYPE_CHECKING:
    from rich.console import Console

    from tokenworks.factory.plant import Plant
    from tokenworks.factory.up import Wish

Home = Annotated[Path | None, typer.Option(help="Where everything is kept [default: ~/.tokenworks].")]
Port = Annotated[int | None, typer.Option(help="Where to listen on 127.0.0.1 [default: 8765]; 0 takes a free one.")]
BEGAN = time.monotonic()


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    app.command()(up)
    app.command()(serve)


def up(
    context: typer.Context,
    docs: Annotated[Path | None, typer.Option(help="Your documents, instead of the default example.")] = None,
    task: Annotated[list[Path] | None, typer.Option(help="Your task file; may be given again.")] = None,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face folder to serve beside.")] = None,
    home: Home = None,
    port: Port = None,
    budget: Annotated[str, typer.Option(help='Pretraining of the example: a time "3m" or work "2M tokens".')] = "3m",
    owner: Annotated[str, typer.Option(help="Who answers for the example's models.")] = "mailto:owner@localhost",
    once: Annotated[bool, typer.Option("--once", help="Run the line, ask one request, report, and exit.")] = False,
) -> None:
    """From documents to released models that answer: serve at once, and show the line as it goes."""
    from tokenworks.factory.up import Wish

    wish = Wish(docs=docs, tasks=tuple(task or ()), model=model, owner=owner, budget=budget, once=once)
    _run(context.obj.at(home), wish, port)


def serve(
    context: typer.Context,
    model: Annotated[Path | None, typer.Option(help="A Hugging Face folder to serve beside.")] = None,
    home: Home = None,
    port: Port = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that answer; 0: one for everything.")] = 0,
    reload: Annotated[bool, typer.Option("--reload", help="Replace the workers of the running server.")] = False,
) -> None:
    """Serve what is released, without running the line."""
    from tokenworks.factory.fleet import Plan
    from tokenworks.factory.up import Wish

    ours: Context = context.obj.at(home)
    if reload:
        _reload(ours)
        return
    plan = Plan(workers, lambda: ours.settings_on(port)) if workers else None
    _run(ours, Wish(line=False, model=model, plan=plan), port)


def _reload(ours: Context) -> None:
    from tokenworks.factory.reloading import reload_running

    standing = reload_running(ours.settings.home_path)
    pids = ", ".join(str(one.pid) for one in standing.workers)
    ours.show(standing, f"reloaded: {len(standing.workers)} workers answer (processes {pids})")


def _run(ours: Context, wish: Wish, port: int | None) -> None:
    from tokenworks.cli.screen import Screen
    from tokenworks.cli.tables import report_lines
    from tokenworks.factory.trying import sample
    from tokenworks.factory.up import Shown, run_up

    console = ours.console
    with ours.factory_on(port) as factory, Screen(console) as screen:

        def settled(plant: Plant) -> None:
            found = factory.report()
            ours.show(found, "\n".join(["", *report_lines(found), examples(plant, sample(factory))]))

        broken = run_up(factory, wish, Shown(screen, lambda plant: _greet(console, plant), settled))
    for problem in broken:
        print(f"tokenworks: {problem}", file=sys.stderr)
    if broken:
        raise typer.Exit(1)


def _greet(console: Console, plant: Plant) -> None:
    console.print(f"Tokenworks answers at {plant.url} after {time.monotonic() - BEGAN:.1f} s", highlight=False)
    console.print(f"  key   {plant.key}", highlight=False)
    console.print("  Ctrl-C stops everything", highlight=False)


def examples(plant: Plant, sample: tuple[str, str, bytes]) -> str:
    """Return a curl and a Python example of a `sample` request (model, path, body), ready to paste."""
    model, path, body = sample
    return f"""
Try it:

  curl {plant.url}{path} -H 'Authorization: Bearer {plant.key}' \\
    -H 'Content-Type: application/json' -d '{body.decode()}'

  from openai import OpenAI
  client = OpenAI(base_url="{plant.url}/v1", api_key="{plant.key}")
{_python(model, path)}
"""


def _python(model: str, path: str) -> str:
    if path == "/v1/completions":
        return f"""  for chunk in client.completions.create(model="{model}", prompt="def ", max_tokens=64, stream=True):
      print(chunk.choices[0].text, end="", flush=True)"""
    if path == "/v1/chat/completions":
        return f"""  asked = [{{"role": "user", "content": "hello"}}]
  for chunk in client.chat.completions.create(model="{model}", messages=asked, stream=True):
      print(chunk.choices[0].delta.content or "", end="", flush=True)"""
    if path == "/classify":
        body = f'{{"model": "{model}", "input": "parse a date from a string"}}'
        return f"""  print(client.post("/classify", body={body}, cast_to=object)["data"][0]["label"])"""
    return f"""  print(client.embeddings.create(model="{model}", input="hello").data[0].embedding[:4])"""
