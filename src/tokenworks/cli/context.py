"""What every command is given: where to look, how to print, and a factory when it needs one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

    from tokenworks.factory import Factory
    from tokenworks.settings import Settings


@dataclass(frozen=True)
class Context:
    """The options before the command's name."""

    home: Path | None = None
    config: Path | None = None
    as_json: bool = False

    def at(self, home: Path | None) -> Context:
        """Return this with `home`, when a command was given one of its own."""
        return Context(home or self.home, self.config, self.as_json)

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        from tokenworks.settings import load_settings

        return load_settings(self.config, home=self.home)

    def factory(self) -> Factory:
        """Return a factory over the settings; the store and the HTTP stack are loaded only now."""
        from tokenworks.cli.logs import log_to_stderr  # not at the top: `--help` has no use for it
        from tokenworks.factory import Factory

        settings = self.settings
        log_to_stderr(settings.telemetry.log)
        return Factory(settings)

    def settings_on(self, port: int | None) -> Settings:
        """Return the settings in force, with `port` where one was given."""
        import msgspec.structs

        settings = self.settings
        if port is None:
            return settings
        return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, port=port))

    def factory_on(self, port: int | None) -> Factory:
        """Return a factory that serves on `port`, where one was given."""
        from tokenworks.cli.logs import log_to_stderr  # not at the top: `--help` has no use for it
        from tokenworks.factory import Factory

        settings = self.settings_on(port)
        log_to_stderr(settings.telemetry.log)
        return Factory(settings, role="gateway")

    @property
    def console(self) -> Console:
        """The terminal; with --json it is standard error, so that standard output holds the result alone."""
        from rich.console import Console

        return Console(soft_wrap=True, stderr=self.as_json)

    def show(self, value: Any, text: str) -> None:
        """Print `value` as JSON where that was asked for, else `text`."""
        if self.as_json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")
        else:
            sys.stdout.write(text.rstrip("\n") + "\n")
