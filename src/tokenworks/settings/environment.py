"""Settings from `tokenworks.toml` and the environment. The only reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tokenworks.core.errors import ConfigError
from tokenworks.core.toml import convert, read_toml
from tokenworks.settings.engines import RemoteSettings
from tokenworks.settings.settings import Settings

PREFIX = "TOKENWORKS_"


def load_settings(
    file: Path | None = None, *, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Settings:
    """Return defaults, overlaid by `file`, the environment and `home`, in rising order.

    Without `file`, `tokenworks.toml` in the working folder is read if there is one. Environment variables are
    named after the keys: `TOKENWORKS_SERVER__PORT=9000`. Raises `ConfigError` naming the key and the way out.
    """
    environ = os.environ if environ is None else environ
    file = file or _default_file(environ)
    settings = read_toml(file, Settings) if file else Settings()
    overlay = _from_environment(environ)
    if home is not None:
        overlay["home"] = str(home)
    if not overlay:
        return settings
    merged = _merge(msgspec.to_builtins(settings), overlay)
    return convert(merged, Settings, where="environment")


def notify_socket(environ: Mapping[str, str] | None = None) -> str:
    """Return where systemd wants to be told how this service is; empty where nobody does."""
    return (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")


def child_environment(more: Mapping[str, str], *, environ: Mapping[str, str] | None = None) -> Mapping[str, str]:
    """Return the environment of a process that we start: ours, and `more`."""
    return {**(os.environ if environ is None else environ), **more}


def remote_key(remote: RemoteSettings, *, environ: Mapping[str, str] | None = None) -> str:
    """Return the key that `remote` is asked with; raise `ConfigError` where it is named twice or not to be found."""
    where = f"engines.remotes {remote.name!r}"
    if sum(map(bool, (remote.key, remote.key_file, remote.key_env))) > 1:
        raise ConfigError(f"{where}: give one of key, key_file and key_env")
    if remote.key_env:
        environ = os.environ if environ is None else environ
        if not environ.get(remote.key_env):
            raise ConfigError(f"{where}: the environment variable {remote.key_env} (key_env) is not set")
        return environ[remote.key_env]
    if remote.key_file:
        try:
            return Path(remote.key_file).expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{where}: key_file {remote.key_file} cannot be read: {error}") from None
    return remote.key


def _default_file(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(PREFIX + "CONFIG")
    if named:
        return Path(named)
    here = Path("tokenworks.toml")
    return here if here.exists() else None


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings named in the environment as a nested table; foreign names are an error."""
    table: dict[str, Any] = {}
    ours = {"CONFIG", "DATA"}  # DATA: where tests find real data
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name[len(PREFIX) :] in ours:
            continue
        *sections, key = name[len(PREFIX) :].lower().split("__")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"environment: {name} and {PREFIX}{section.upper()} contradict each other")
        place[key] = value
    return table


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged
