"""The tables of machines and models, dated and editable, with a user's own laid over them; unknown names are helped."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import convert
from tokenworks.planning.architecture import Architecture
from tokenworks.planning.machine import Machine

T = TypeVar("T", Architecture, Machine)
_ENDS = re.compile(
    r"^(meta|nvidia)-|-(instruct|chat|hf|base|it|exp|thinking|fp8|nvfp4|mxfp4|fp4|bf16|awq|gptq|int4|\d{4}|v\d\.\d|dynamic)$"
)


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of models and machines, by name."""

    models: dict[str, Architecture]
    machines: dict[str, Machine]

    def model(self, name: str) -> Architecture:
        """Return the shape of the model called `name`, with or without its maker and its endings."""
        return _found(self.models, name, "model", 'a [models.NAME] table, or model_config = "config.json"')

    def called(self, name: str) -> str:
        """Return the table's own name of the model called `name`: of its shape, whoever trained it."""
        shape = self.model(name)
        return next(own for own, one in self.models.items() if one is shape)

    def machine(self, name: str) -> Machine:
        """Return the machine called `name`."""
        return _found(self.machines, name, "machine", "a [machines.NAME] table")

    def over(self, models: Mapping[str, Architecture], machines: Mapping[str, Machine]) -> Tables:
        """Return these with others laid over them."""
        return Tables(models={**self.models, **models}, machines={**self.machines, **machines})


def read_tables(folder: Path | None = None) -> Tables:
    """Return the package's tables, with `machines.toml` and `models.toml` of `folder` laid over them."""
    inside = files("tokenworks.planning") / "tables"
    tables = Tables(
        models=_read((inside / "models.toml").read_text(), Architecture, "models.toml"),
        machines=_read((inside / "machines.toml").read_text(), Machine, "machines.toml"),
    )
    if folder is None:
        return tables
    named = [folder / "models.toml", folder / "machines.toml"]
    if not any(path.is_file() for path in named):
        raise ConfigError(f"--tables {folder}: there is neither models.toml nor machines.toml in it")
    models, machines = (path.read_text(encoding="utf-8") if path.is_file() else "" for path in named)
    return tables.over(_read(models, Architecture, str(named[0])), _read(machines, Machine, str(named[1])))


def _read(text: str, kind: type[T], where: str) -> dict[str, T]:
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None
    return {name.lower(): convert(value, kind, where=f"{where} [{name}]") for name, value in table.items()}


def _found(table: Mapping[str, T], name: str, noun: str, way_out: str) -> T:
    wanted = name.rsplit("/", 1)[-1].lower()
    known = {alias: one for one in table.values() for alias in one.aliases} | dict(table)
    while wanted not in known:
        shorter = _ENDS.sub("", wanted)
        if shorter == wanted:
            near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"{noun} {name!r} is not known; {hint}Known: {', '.join(sorted(table))}. Another one is added by "
                f"{way_out} in the workload file, or by a copy of the tables and --tables FOLDER"
            )
        wanted = shorter
    return known[wanted]
